//! A list that grows at its end. A copy shares all but its last few items, so that a snapshot of thousands of
//! mini-batches costs some dozens of pointers.

use std::sync::Arc;

/// Items of a piece: pieces are shared whole, what comes after them item by item.
const PIECE: usize = 64;

/// The list. Items that went into a piece stay there.
pub(crate) struct Growing<T> {
    pieces: Vec<Arc<Vec<Arc<T>>>>,
    open: Vec<Arc<T>>,
}

impl<T> Default for Growing<T> {
    fn default() -> Self {
        Growing { pieces: Vec::new(), open: Vec::new() }
    }
}

impl<T> Clone for Growing<T> {
    fn clone(&self) -> Self {
        Growing { pieces: self.pieces.clone(), open: self.open.clone() }
    }
}

impl<T> Growing<T> {
    /// Appends an item.
    pub(crate) fn push(&mut self, item: Arc<T>) {
        self.open.push(item);
        // As many stay open, for those who put the last ones together.
        if self.open.len() >= 2 * PIECE {
            let rest = self.open.split_off(PIECE);
            self.pieces.push(Arc::new(std::mem::replace(&mut self.open, rest)));
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
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Arc<T>> {
        self.pieces.iter().flat_map(|piece| piece.iter()).chain(&self.open)
    }

    /// The item of a number.
    pub(crate) fn get(&self, at: usize) -> Option<&Arc<T>> {
        match self.pieces.get(at / PIECE) {
            Some(piece) => piece.get(at % PIECE),
            None => self.open.get(at - self.pieces.len() * PIECE),
        }
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
        let mut list = Growing::default();
        let mut copies = Vec::new();
        for number in 0..1_000usize {
            copies.push(list.clone());
            list.push(Arc::new(number));
        }
        for (len, copy) in copies.iter().enumerate() {
            let items: Vec<usize> = copy.iter().map(|item| **item).collect();
            assert_eq!(items, (0..len).collect::<Vec<_>>());
            assert_eq!(copy.get(len), None);
            assert_eq!(copy.get(len / 2).map(|item| **item), (len > 0).then_some(len / 2));
        }
        assert_eq!((list.pop().as_deref(), list.nth_from_end(1).map(|item| **item)), (Some(&999), Some(997)));
        assert_eq!(list.to_vec().len(), 999);
    }
}
