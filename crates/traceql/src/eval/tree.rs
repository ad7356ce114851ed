//! Where spans stand in the tree of their trace: relations between sets of spans, and numbers of nested sets.
//!
//! The trees of a batch are a list that has for each span the row of its parent. Nothing recurses, every pass looks at each
//! span a few times whatever the shape, and cycles are broken before anything else.

use crate::ast::{Mode, Relation};
use crate::source::TraceRun;

/// No parent.
pub(crate) const NONE: u32 = u32::MAX;

/// A parent that is not there.
fn parent_of(parents: &[u32], row: u32) -> Option<u32> {
    parents.get(row as usize).copied().filter(|parent| *parent != NONE)
}

/// Takes the parent from each span that is its own ancestor.
pub(crate) fn break_cycles(parents: &mut [u32]) {
    const NEW: u32 = 0;
    // Most spans come after their parents, and a circle has one that does not: walks begin there.
    let is_before = |(row, parent): (u32, &u32)| *parent != NONE && row <= *parent;
    let starts: Vec<u32> = (0..).zip(&*parents).filter(|at| is_before(*at)).map(|(row, _)| row).collect();
    if starts.is_empty() {
        return;
    }
    let mut seen = vec![NEW; parents.len()];
    for start in starts {
        let walk = start + 1;
        let (mut at, mut last) = (start, None);
        loop {
            match seen.get_mut(at as usize) {
                Some(mark) if *mark == NEW => *mark = walk,
                Some(mark) if *mark == walk => {
                    // The walk met itself: its last step goes.
                    if let Some(place) = last.and_then(|last: u32| parents.get_mut(last as usize)) {
                        *place = NONE;
                    }
                    break;
                }
                _ => break,
            }
            last = Some(at);
            match parent_of(parents, at) {
                Some(parent) => at = parent,
                None => break,
            }
        }
    }
}

/// Numbers of each span.
#[derive(Clone, Debug, Default)]
pub(crate) struct Forest {
    pub left: Vec<i32>,
    pub right: Vec<i32>,
    pub parent: Vec<i32>,
    pub children: Vec<i32>,
}

/// Numbers the spans of each trace as nested sets, from one, in the order of rows among children. Spans below none that is a root
/// have zeros; the parent of a root is minus one.
pub(crate) fn number(parents: &[u32], runs: &[TraceRun], is_root: impl Fn(usize) -> bool) -> Forest {
    let zeros = || vec![0i32; parents.len()];
    let mut forest = Forest { left: zeros(), right: zeros(), parent: zeros(), children: zeros() };
    // The children of a span as a list: its first, and of each child the next.
    let (mut first, mut next) = (vec![NONE; parents.len()], vec![NONE; parents.len()]);
    for row in (0..parents.len() as u32).rev() {
        let Some(parent) = parent_of(parents, row) else { continue };
        let (Some(head), Some(link)) = (first.get_mut(parent as usize), next.get_mut(row as usize)) else {
            continue;
        };
        (*link, *head) = (*head, row);
        if let Some(count) = forest.children.get_mut(parent as usize) {
            *count += 1;
        }
    }
    let set = |list: &mut Vec<i32>, row: u32, value: i32| {
        if let Some(place) = list.get_mut(row as usize) {
            *place = value;
        }
    };
    for run in runs {
        let mut counter = 0;
        for root in run.start..run.end {
            if !is_root(root as usize) || parent_of(parents, root).is_some() {
                continue;
            }
            counter += 1;
            set(&mut forest.left, root, counter);
            set(&mut forest.parent, root, -1);
            let mut at = root;
            loop {
                let child = first.get(at as usize).copied().unwrap_or(NONE);
                if child != NONE {
                    // Down, and the next time past this child.
                    let after = next.get(child as usize).copied().unwrap_or(NONE);
                    if let Some(place) = first.get_mut(at as usize) {
                        *place = after;
                    }
                    let of_parent = forest.left.get(at as usize).copied().unwrap_or_default();
                    counter += 1;
                    set(&mut forest.left, child, counter);
                    set(&mut forest.parent, child, of_parent);
                    at = child;
                    continue;
                }
                counter += 1;
                set(&mut forest.right, at, counter);
                match parent_of(parents, at) {
                    Some(parent) if at != root => at = parent,
                    _ => break,
                }
            }
        }
    }
    forest
}

/// Marks of the spans of one trace: rows count from its first.
pub(crate) struct Family<'p> {
    parents: &'p [u32],
    /// Whether a span names a parent, be it there or not.
    has_parent: &'p dyn Fn(u32) -> bool,
    start: u32,
    len: usize,
}

impl<'p> Family<'p> {
    /// The spans of a run. Only siblings need `has_parent`: roots are those of each other, and what has lost its parent has none.
    pub fn new(parents: &'p [u32], has_parent: &'p dyn Fn(u32) -> bool, run: &TraceRun) -> Family<'p> {
        Family { parents, has_parent, start: run.start, len: (run.end - run.start) as usize }
    }

    fn marks(&self, rows: &[u32]) -> Vec<bool> {
        let mut marks = vec![false; self.len];
        for row in rows {
            self.mark(&mut marks, *row);
        }
        marks
    }

    fn mark(&self, marks: &mut [bool], row: u32) {
        if let Some(mark) = row.checked_sub(self.start).and_then(|at| marks.get_mut(at as usize)) {
            *mark = true;
        }
    }

    fn has(&self, marks: &[bool], row: u32) -> bool {
        row.checked_sub(self.start).and_then(|at| marks.get(at as usize)).copied().unwrap_or_default()
    }

    /// What a relation gives of two sets of rows, which ascend.
    pub fn related(&self, relation: Relation, mode: Mode, left: &[u32], right: &[u32]) -> Vec<u32> {
        let stands = |rows: &[u32], relation: Relation, to: &[u32]| -> Vec<u32> {
            let holds = self.holding(relation, to);
            rows.iter().copied().filter(|row| holds(*row) == (mode != Mode::Unrelated)).collect()
        };
        let mut found = stands(right, relation, left);
        if mode == Mode::Union {
            found.extend(stands(left, inverse(relation), right));
            found.sort_unstable();
            found.dedup();
        }
        found
    }

    /// Whether a span stands in a relation to any of a set.
    fn holding<'s>(&'s self, relation: Relation, to: &'s [u32]) -> Box<dyn Fn(u32) -> bool + 's> {
        let parents = self.parents;
        match relation {
            Relation::Child => {
                let marks = self.marks(to);
                Box::new(move |row| parent_of(parents, row).is_some_and(|parent| self.has(&marks, parent)))
            }
            Relation::Parent => {
                let mut marks = vec![false; self.len];
                to.iter()
                    .filter_map(|row| parent_of(parents, *row))
                    .for_each(|row| self.mark(&mut marks, row));
                Box::new(move |row| self.has(&marks, row))
            }
            Relation::Descendant => {
                let below = self.below(&self.marks(to));
                Box::new(move |row| self.has(&below, row))
            }
            Relation::Ancestor => {
                // Up from each until a span that is marked: each is marked once.
                let mut above = vec![false; self.len];
                for row in to {
                    let mut at = *row;
                    while let Some(parent) = parent_of(parents, at)
                        && !self.has(&above, parent)
                    {
                        self.mark(&mut above, parent);
                        at = parent;
                    }
                }
                Box::new(move |row| self.has(&above, row))
            }
            Relation::Sibling => {
                // Of each parent how many of the set are its children; a span is no sibling of its own.
                let mut counts: Vec<u32> = vec![0; self.len + 1];
                let marks = self.marks(to);
                let place = move |row: u32| match parent_of(parents, row) {
                    Some(parent) => Some((parent - self.start) as usize),
                    None => (!(self.has_parent)(row)).then_some(self.len),
                };
                for row in to {
                    if let Some(count) = place(*row).and_then(|at| counts.get_mut(at)) {
                        *count += 1;
                    }
                }
                Box::new(move |row| {
                    let all = place(row).and_then(|at| counts.get(at)).copied().unwrap_or_default();
                    all > u32::from(self.has(&marks, row))
                })
            }
        }
    }

    /// Of each span whether any of its ancestors is marked.
    fn below(&self, marks: &[bool]) -> Vec<bool> {
        const UNKNOWN: u8 = 0;
        let mut known = vec![UNKNOWN; self.len];
        let mut path: Vec<u32> = Vec::new();
        for start in self.start..self.start + self.len as u32 {
            let mut at = start;
            let state = |known: &[u8], row: u32| {
                row.checked_sub(self.start).and_then(|at| known.get(at as usize)).copied().unwrap_or(1)
            };
            let mut verdict = state(&known, at);
            while verdict == UNKNOWN {
                path.push(at);
                verdict = match parent_of(self.parents, at) {
                    None => 1,
                    Some(parent) if self.has(marks, parent) => 2,
                    Some(parent) => {
                        at = parent;
                        state(&known, at)
                    }
                };
            }
            for row in path.drain(..) {
                if let Some(place) = known.get_mut((row - self.start) as usize) {
                    *place = verdict;
                }
            }
        }
        known.into_iter().map(|state| state == 2).collect()
    }
}

/// The relation seen from the other side.
fn inverse(relation: Relation) -> Relation {
    match relation {
        Relation::Child => Relation::Parent,
        Relation::Parent => Relation::Child,
        Relation::Descendant => Relation::Ancestor,
        Relation::Ancestor => Relation::Descendant,
        Relation::Sibling => Relation::Sibling,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two roots: 0 with children 1 and 3, 1 with child 2; 4 alone.
    const PARENTS: [u32; 5] = [NONE, 0, 1, 0, NONE];
    const RUN: TraceRun = TraceRun { start: 0, end: 5, trace: 0 };

    fn related(relation: Relation, mode: Mode, left: &[u32], right: &[u32]) -> Vec<u32> {
        Family::new(&PARENTS, &|row| (1..4).contains(&row), &RUN).related(relation, mode, left, right)
    }

    #[test]
    fn who_has_lost_the_parent_has_no_siblings() {
        // 4 names a parent that is not there.
        let family = Family::new(&PARENTS, &|row| row > 0, &RUN);
        let all = [0, 1, 2, 3, 4];
        assert_eq!(family.related(Relation::Sibling, Mode::Related, &all, &all), [1, 3]);
        assert_eq!(family.related(Relation::Sibling, Mode::Unrelated, &all, &all), [0, 2, 4]);
    }

    #[test]
    fn relations_are_those_of_the_tree() {
        use Mode::{Related, Union, Unrelated};
        use Relation::{Ancestor, Child, Descendant, Parent, Sibling};
        let all = [0, 1, 2, 3, 4];
        for (relation, left, expected) in [
            (Child, vec![0], vec![1, 3]),
            (Parent, vec![2, 3], vec![0, 1]),
            (Descendant, vec![0], vec![1, 2, 3]),
            (Ancestor, vec![2], vec![0, 1]),
            (Sibling, vec![1], vec![3]),
            (Sibling, vec![0], vec![4]),
            (Descendant, vec![], vec![]),
        ] {
            assert_eq!(related(relation, Related, &left, &all), expected, "{relation:?} {left:?}");
            let others: Vec<u32> = all.into_iter().filter(|row| !expected.contains(row)).collect();
            assert_eq!(related(relation, Unrelated, &left, &all), others, "not {relation:?} {left:?}");
        }
        assert_eq!(related(Descendant, Union, &[0, 4], &[2]), [0, 2]);
        assert_eq!(related(Child, Union, &[0, 1], &[1, 2]), [0, 1, 2]);
        assert_eq!(related(Ancestor, Union, &[2], &[1]), [1, 2]);
    }

    #[test]
    fn nested_sets_are_numbered_below_roots_only() {
        let forest = number(&PARENTS, &[RUN], |row| row == 0);
        assert_eq!(forest.left, [1, 2, 3, 6, 0]);
        assert_eq!(forest.right, [8, 5, 4, 7, 0]);
        assert_eq!(forest.parent, [-1, 1, 2, 1, 0]);
        assert_eq!(forest.children, [2, 1, 0, 0, 0]);
    }

    #[test]
    fn cycles_and_deep_lines_end() {
        let mut parents = vec![1, 2, 0, 3, 2];
        break_cycles(&mut parents);
        assert_eq!(parents.iter().filter(|parent| **parent == NONE).count(), 2);
        let n = 100_000u32;
        let mut line: Vec<u32> = (0..n).map(|row| if row + 1 < n { row + 1 } else { NONE }).collect();
        break_cycles(&mut line);
        let run = TraceRun { start: 0, end: n, trace: 0 };
        let has_parent = |row: u32| row + 1 < n;
        let family = Family::new(&line, &has_parent, &run);
        let rows: Vec<u32> = (0..n).collect();
        assert_eq!(
            family.related(Relation::Descendant, Mode::Related, &[n - 1], &rows).len(),
            n as usize - 1
        );
        assert_eq!(family.related(Relation::Ancestor, Mode::Union, &rows, &rows).len(), n as usize);
        let forest = number(&line, &[run], |row| row == n as usize - 1);
        assert_eq!(forest.right[n as usize - 1], 2 * n as i32);
    }
}
