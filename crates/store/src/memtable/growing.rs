//! A list that grows at its end. A copy shares all but its last few items, so that a snapshot of thousands of
//! mini-batches costs some dozens of pointers.

use std::sync::{Arc, OnceLock};

/// Items of a piece: pieces are shared whole, what comes after them item by item.
const PIECE: usize = 64;

/// Items that follow each other, and what was found out about all of them.
pub(crate) struct Piece<T, M> {
    items: Vec<Arc<T>>,
    /// Empty until somebody asks.
    pub(crate) memo: OnceLock<M>,
}

impl<T, M> Piece<T, M> {
    pub(crate) fn iter(&self) -> impl DoubleEndedIterator<Item = &Arc<T>> {
        self.items.iter()
    }
}

/// The list. Items that went into a piece stay there.
pub(crate) struct Growing<T, M = ()> {
    pieces: Vec<Arc<Piece<T, M>>>,
    open: Vec<Arc<T>>,
}

impl<T, M> Default for Growing<T, M> {
    fn default() -> Self {
        Growing { pieces: Vec::new(), open: Vec::new() }
    }
}

impl<T, M> Clone for Growing<T, M> {
    fn clone(&self) -> Self {
        Growing { pieces: self.pieces.clone(), open: self.open.clone() }
    }
}

impl<T, M> Growing<T, M> {
    /// Appends an item.
    pub(crate) fn push(&mut self, item: Arc<T>) {
        self.open.push(item);
        // As many stay open, for those who put the last ones together.
        if self.open.len() >= 2 * PIECE {
            let rest = self.open.split_off(PIECE);
            let items = std::mem::replace(&mut self.open, rest);
            self.pieces.push(Arc::new(Piece { items, memo: OnceLock::new() }));
        }
    }

    /// An item counted from the end, if it can still be taken back.
    pub(crate) fn nth_from_end(&self, n: usize) -> Option<&Arc<T>> {
        self.open.iter().nth_back(n)
    }

    /// Takes the last item back, if that is possible.
    pub(crate) fn pop(&mut self) -> Option<Arc<T>> {
        self.open.pop()
    }

    /// All items in order.
    pub(crate) fn iter(&self) -> impl DoubleEndedIterator<Item = &Arc<T>> {
        self.pieces.iter().flat_map(|piece| piece.iter()).chain(&self.open)
    }

    /// The pieces in order.
    pub(crate) fn pieces(&self) -> impl Iterator<Item = &Piece<T, M>> {
        self.pieces.iter().map(|piece| &**piece)
    }

    /// The piece that was filled last.
    pub(crate) fn last_piece(&self) -> Option<&Arc<Piece<T, M>>> {
        self.pieces.last()
    }

    /// What comes after the pieces.
    pub(crate) fn open(&self) -> &[Arc<T>] {
        &self.open
    }

    /// All items as a list of their own.
    pub(crate) fn to_vec(&self) -> Vec<Arc<T>> {
        self.iter().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies_stay_as_they_were() {
        let mut list: Growing<usize> = Growing::default();
        let mut copies = Vec::new();
        for number in 0..1_000usize {
            copies.push(list.clone());
            list.push(Arc::new(number));
        }
        for (len, copy) in copies.iter().enumerate() {
            let items: Vec<usize> = copy.iter().map(|item| **item).collect();
            assert_eq!(items, (0..len).collect::<Vec<_>>());
            assert!(copy.iter().rev().map(|item| **item).eq((0..len).rev()));
        }
        assert_eq!((list.pop().as_deref(), list.nth_from_end(1).map(|item| **item)), (Some(&999), Some(997)));
        assert_eq!(list.to_vec().len(), 999);
        let in_pieces = list.pieces().map(|piece| piece.iter().count()).sum::<usize>();
        assert_eq!(in_pieces + list.open().len(), 999);
    }
}
