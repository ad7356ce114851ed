//! What policies with a rate have spent.
//!
//! Policies are met in the same order for every trace, so that each finds its own account by counting.

/// The account of one `composite` part in a second.
#[derive(Clone, Copy, Debug)]
pub(super) struct Spent(usize);

/// A bucket that fills with time.
#[derive(Clone, Copy, Debug)]
struct Bucket {
    tokens: f64,
    /// Nanoseconds since the epoch.
    filled_at: i64,
}

/// What was spent in one second.
#[derive(Clone, Copy, Debug, Default)]
struct Second {
    second: i64,
    spent: u64,
}

/// All accounts.
#[derive(Clone, Debug, Default)]
pub(super) struct Rates {
    now: i64,
    buckets: Vec<Bucket>,
    next_bucket: usize,
    seconds: Vec<Second>,
    next_second: usize,
}

impl Rates {
    /// Begins with the first account again, at a time. Time that goes backwards fills nothing.
    pub(super) fn begin(&mut self, now: i64) {
        (self.now, self.next_bucket, self.next_second) = (now, 0, 0);
    }

    /// Leaves the next bucket as it is.
    pub(super) fn pass_over(&mut self) {
        self.next_bucket += 1;
        if self.buckets.len() < self.next_bucket {
            // It is full when it is met first.
            let (tokens, filled_at) = (f64::INFINITY, self.now);
            self.buckets.resize(self.next_bucket, Bucket { tokens, filled_at });
        }
    }

    /// Takes from the next bucket, if it has so much. A new bucket is full.
    pub(super) fn take(&mut self, rate: u64, burst: u64, amount: u64) -> bool {
        let burst = if burst == 0 { rate.saturating_mul(2) } else { burst } as f64;
        let (now, at) = (self.now, self.next_bucket);
        self.next_bucket += 1;
        if self.buckets.len() <= at {
            self.buckets.resize(at + 1, Bucket { tokens: burst, filled_at: now });
        }
        let Some(bucket) = self.buckets.get_mut(at) else { return false };
        let elapsed_ns = now.saturating_sub(bucket.filled_at).max(0);
        bucket.tokens = (bucket.tokens + rate as f64 * elapsed_ns as f64 / 1e9).min(burst);
        bucket.filled_at = bucket.filled_at.max(now);
        let has_enough = bucket.tokens >= amount as f64;
        if has_enough {
            bucket.tokens -= amount as f64;
        }
        has_enough
    }

    /// The next account of a second.
    pub(super) fn next_second(&mut self) -> Spent {
        let at = self.next_second;
        self.next_second += 1;
        if self.seconds.len() <= at {
            self.seconds.resize(at + 1, Second::default());
        }
        Spent(at)
    }

    /// Spends, if what was spent in this second then stays within a limit.
    pub(super) fn spend(&mut self, account: Spent, amount: u64, limit: u64) -> bool {
        let second = self.now.div_euclid(1_000_000_000);
        let Some(account) = self.seconds.get_mut(account.0) else { return false };
        if account.second != second {
            *account = Second { second, spent: 0 };
        }
        let is_within = account.spent.saturating_add(amount) <= limit;
        if is_within {
            account.spent += amount;
        }
        is_within
    }
}
