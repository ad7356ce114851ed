//! The layout of the `index` file: a header with a table of sections, all numbers little-endian.

/// The first bytes of the file.
pub(super) const MAGIC: [u8; 4] = *b"TLIX";

/// The version of the layout.
pub(super) const VERSION: u32 = 2;
/// The version whose token filters were Bloom filters: they are not read, so that all row groups may hold a text.
pub(super) const VERSION_WITH_BLOOM: u32 = 1;

/// Magic, version, and for each section its offset and length.
pub(super) const HEADER_BYTES: usize = 8 + 16 * Section::ALL.len();

/// The sections, in file order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Section {
    /// Binary fuse filter: its descriptor (seed u64, segment length u32, segment length mask u32, segment count length
    /// u32), then the fingerprints, one byte each. Empty where the block has no trace.
    Filter,
    /// Bucket offsets, in entries: u32 each, one more than there are buckets.
    LookupDirectory,
    /// Entries: the fingerprint's low 32 bits, the trace's row; sorted by the whole fingerprint.
    LookupEntries,
    /// Group offsets, in bytes: u32 each, one more than there are groups.
    PostingsDirectory,
    /// Groups of postings.
    Postings,
    /// Offsets of the token filters, in bytes: u32 each, one more than there are filters.
    TokensDirectory,
    /// Token filters; then for each of them a u64, of which a bit n is set where a token with a digit has n bytes. Blocks from
    /// before these were kept end with the filters.
    Tokens,
}

impl Section {
    pub(super) const ALL: [Section; 7] = [
        Section::Filter,
        Section::LookupDirectory,
        Section::LookupEntries,
        Section::PostingsDirectory,
        Section::Postings,
        Section::TokensDirectory,
        Section::Tokens,
    ];
}

/// The bucket of a fingerprint among `n_buckets`: its high bits, scaled, so that buckets are in fingerprint order.
pub(super) fn bucket_of(fingerprint: u64, n_buckets: usize) -> usize {
    ((u128::from(fingerprint) * n_buckets as u128) >> 64) as usize
}
