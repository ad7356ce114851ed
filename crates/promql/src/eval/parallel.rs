//! Work on many series at once.

/// From how many samples on a second thread is worth its start.
const SAMPLES_PER_THREAD: usize = 20_000;

/// Maps all items in order, on several threads if `weight` (samples of one item) times items is large.
pub(crate) fn map_parallel<T: Send, R: Send>(
    items: Vec<T>,
    threads: usize,
    weight: usize,
    map: impl Fn(T) -> R + Sync,
) -> Vec<R> {
    map_parallel_with(items, threads, weight, || (), |(), item| map(item))
}

/// [`map_parallel`] where what each thread learns from one item helps it with the next.
pub(crate) fn map_parallel_with<T: Send, R: Send, S>(
    items: Vec<T>,
    threads: usize,
    weight: usize,
    start: impl Fn() -> S + Sync,
    map: impl Fn(&mut S, T) -> R + Sync,
) -> Vec<R> {
    let samples = items.len().saturating_mul(weight.max(1));
    let threads = threads.min(samples / SAMPLES_PER_THREAD).min(items.len()).max(1);
    let run = |chunk: Vec<T>| {
        let mut state = start();
        chunk.into_iter().map(|item| map(&mut state, item)).collect::<Vec<R>>()
    };
    if threads == 1 {
        return run(items);
    }
    let size = items.len().div_ceil(threads);
    let mut rest = items;
    let mut chunks = Vec::with_capacity(threads);
    while rest.len() > size {
        let tail = rest.split_off(rest.len() - size);
        chunks.push(tail);
    }
    let run = &run;
    std::thread::scope(|scope| {
        let workers: Vec<_> = chunks.into_iter().rev().map(|chunk| scope.spawn(move || run(chunk))).collect();
        let mut mapped = run(rest);
        for worker in workers {
            match worker.join() {
                Ok(part) => mapped.extend(part),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        mapped
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_is_kept() {
        for (count, threads) in [(0, 4), (1, 4), (10, 3), (11, 4), (100, 7)] {
            let items: Vec<usize> = (0..count).collect();
            let mapped = map_parallel(items.clone(), threads, 1_000_000, |item| item * 2);
            assert_eq!(mapped, items.iter().map(|item| item * 2).collect::<Vec<_>>());
        }
    }
}
