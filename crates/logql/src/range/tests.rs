//! Windows by cells against windows by looking at every sample.

use super::fold::{Avg, First, Fold, Last, Max, Min, Sum, Variance};
use super::{Cells, Grid};
use crate::value::Steps;

/// Every window by looking at every sample.
fn plainly<F: Fold>(grid: &Grid, samples: &[(i64, f64)]) -> Vec<Option<f64>> {
    let window = |step: usize| {
        let end = grid.steps().at(step);
        let mut inside = samples.iter().filter(|sample| sample.0 > end - grid.range_ns() && sample.0 <= end);
        let first = inside.next()?;
        let mut fold = F::new(first.0, first.1);
        inside.for_each(|sample| fold.add(sample.0, sample.1));
        Some(fold.value())
    };
    (0..grid.steps().count).map(window).collect()
}

fn check<F: Fold>(grid: &Grid, samples: &[(i64, f64)]) {
    let mut cells = Cells::<F>::default();
    for (time, value) in samples {
        let piece = grid.piece(*time);
        assert!(piece.has(*time), "{piece:?} {time}");
        for other in [time - 1, time + 1, time + 5] {
            assert!(!piece.has(other) || grid.piece(other) == piece, "{piece:?} {other}");
        }
        // Whatever lies between the cuts is in one cell.
        for offset in [0, 7] {
            let (first, last) = grid.cuts(offset).piece(time - offset);
            assert!(first <= time - offset && time - offset <= last);
            for other in [first, last] {
                assert_eq!(grid.piece(other + offset).cell, piece.cell, "{time} {other} of {grid:?}");
            }
        }
        if let Some(cell) = piece.cell {
            cells.add(cell, *time, *value);
        }
    }
    let (got, expected) = (cells.windows(grid), plainly::<F>(grid, samples));
    for (step, pair) in got.iter().zip(&expected).enumerate() {
        let equal = match pair {
            (Some(a), Some(b)) => (a - b).abs() <= 1e-9 * (1.0 + b.abs()),
            (a, b) => a == b,
        };
        assert!(equal, "step {step} of {grid:?}: {pair:?}");
    }
}

#[test]
fn cells_add_up_to_windows() {
    let mut state = 7u64;
    let mut random = |below: i64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((state >> 33) as i64).rem_euclid(below)
    };
    for _ in 0..300 {
        let steps =
            Steps { start_ns: random(50) - 25, step_ns: 1 + random(12), count: 1 + random(20) as usize };
        let grid = Grid::new(steps, 1 + random(40));
        // Most of them in the order of time, as a source delivers them.
        let mut samples: Vec<(i64, f64)> =
            (0..random(60)).map(|_| (random(300) - 80, random(9) as f64)).collect();
        samples.sort_by_key(|sample| sample.0);
        samples.dedup_by_key(|sample| sample.0);
        if random(3) == 0 {
            samples.reverse();
        }
        check::<Sum>(&grid, &samples);
        check::<Min>(&grid, &samples);
        check::<Max>(&grid, &samples);
        check::<Avg>(&grid, &samples);
        check::<Variance>(&grid, &samples);
        check::<First>(&grid, &samples);
        check::<Last>(&grid, &samples);
    }
}

#[test]
fn extreme_times_are_in_no_window() {
    let grid = Grid::new(Steps { start_ns: i64::MIN + 5, step_ns: 1, count: 3 }, i64::MAX);
    for time in [i64::MAX, i64::MIN, 0] {
        let _ = grid.piece(time);
    }
    let grid = Grid::new(Steps { start_ns: 0, step_ns: 10, count: 2 }, 5);
    assert_eq!(
        [0, 5, 6, 10, 11, -5, -4].map(|time| grid.piece(time).cell.is_some()),
        [true, false, true, true, false, false, true]
    );
}

#[test]
fn nothing_is_left_of_what_a_window_has_left() {
    let grid = Grid::new(Steps { start_ns: 10, step_ns: 10, count: 3 }, 10);
    let mut cells = Cells::<Sum>::default();
    for (time, value) in [(5, f64::INFINITY), (15, 1.0), (25, f64::NAN)] {
        cells.add(grid.piece(time).cell.expect("in a window"), time, value);
    }
    let points = cells.windows(&grid);
    assert_eq!(points[..2], [Some(f64::INFINITY), Some(1.0)]);
    assert!(points[2].is_some_and(f64::is_nan));
}
