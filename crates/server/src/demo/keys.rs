//! The keys of the demo's data and the partitions in which they lie.

/// Partitions of the key-value store.
pub const PARTITIONS: usize = 16;

/// How many tasks there are.
pub const TASKS: usize = 1_024;

/// The partition that goes hot.
pub const HOT_PARTITION: usize = 7;

/// The id of a task.
pub fn task_id(number: usize) -> String {
    format!("task-{number:04}")
}

/// The partition of a key, by a hash (FNV-1a) that every run computes alike.
pub fn partition_of(key: &str) -> usize {
    let hash = key
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3));
    // The low bits of FNV-1a follow the last byte alone.
    ((hash ^ (hash >> 32)) % PARTITIONS as u64) as usize
}

/// A partition's name.
pub fn partition_name(partition: usize) -> String {
    format!("p{partition:02}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tasks_spread_over_all_partitions() {
        let mut counts = [0; PARTITIONS];
        (0..TASKS).for_each(|number| counts[partition_of(&task_id(number))] += 1);
        assert!(counts.iter().all(|count| (32..=96).contains(count)), "{counts:?}");
    }
}
