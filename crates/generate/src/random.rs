//! Randomness from a seed: the same seed gives the same telemetry on every machine.
//!
//! SplitMix64 is enough here: the generator needs speed and repeatability, not secrecy.

/// A stream of pseudo-random numbers that depends on its seed alone.
#[derive(Clone, Debug)]
pub struct Random {
    state: u64,
}

impl Random {
    /// A stream for a seed.
    pub fn new(seed: u64) -> Random {
        Random { state: seed }
    }

    /// A stream for one numbered thing of one kind, independent of the streams of all others.
    pub fn of(seed: u64, kind: u64, number: u64) -> Random {
        let mut random = Random::new(seed ^ kind.wrapping_mul(0xd6e8_feb8_6659_fd93));
        let mixed = random.bits() ^ number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        Random::new(mixed)
    }

    /// The next 64 bits.
    pub fn bits(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number in `0..limit`; 0 where the limit is 0.
    pub fn below(&mut self, limit: u64) -> u64 {
        ((u128::from(self.bits()) * u128::from(limit)) >> 64) as u64
    }

    /// An index in `0..limit`.
    pub fn index(&mut self, limit: usize) -> usize {
        self.below(limit as u64) as usize
    }

    /// A fraction in `0.0..1.0`.
    pub fn fraction(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// True with the given probability.
    pub fn chance(&mut self, probability: f64) -> bool {
        self.fraction() < probability
    }

    /// A positive factor around 1 with a long right tail, as latencies have.
    pub fn tail(&mut self) -> f64 {
        // The sum of three uniforms is close enough to a normal distribution for e^x to look log-normal.
        let normal = self.fraction() + self.fraction() + self.fraction() - 1.5;
        (normal * 1.4).exp()
    }

    /// An index in `0..limit` where low indices are much more frequent than high ones.
    pub fn skewed(&mut self, limit: usize) -> usize {
        let fraction = self.fraction();
        ((limit as f64 * fraction * fraction * fraction) as usize).min(limit.saturating_sub(1))
    }

    /// One of the given things. The slice must not be empty.
    pub fn pick<'a, T>(&mut self, things: &'a [T]) -> &'a T {
        &things[self.index(things.len())]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn same_seed_gives_same_numbers() {
        let (mut a, mut b) = (Random::of(1, 2, 3), Random::of(1, 2, 3));
        assert_eq!(
            (0..100).map(|_| a.bits()).collect::<Vec<_>>(),
            (0..100).map(|_| b.bits()).collect::<Vec<_>>()
        );
    }

    #[test]
    fn streams_of_neighbours_differ() {
        assert_ne!(Random::of(1, 2, 3).bits(), Random::of(1, 2, 4).bits());
        assert_ne!(Random::of(1, 2, 3).bits(), Random::of(1, 3, 3).bits());
    }

    #[test]
    fn numbers_stay_below_the_limit() {
        let mut random = Random::new(7);
        assert!(
            (0..10_000).all(|_| random.below(13) < 13 && random.skewed(5) < 5 && random.fraction() < 1.0)
        );
        assert_eq!(random.below(0), 0);
    }
}
