//! What a span says of the other side of its request, where that sends no spans itself.

use throughline_model::attribute::{self, RawValue};
use throughline_model::protobuf::Reader;

use crate::config::label_value;

/// Attributes that only a client of a database sets; the first that is there names it.
const DATABASE: [&str; 4] = ["db.namespace", "db.name", "db.system.name", "db.system"];
/// Set by hand: it names the peer whatever else is known.
const EXPLICIT: &str = "peer.service";

/// The other side of a request.
#[derive(Clone, Debug, PartialEq)]
pub struct Peer<'a> {
    /// Its name.
    pub name: &'a str,
    /// Whether it is a database, which never sends spans.
    pub is_database: bool,
}

/// The attributes that are looked for.
#[derive(Debug)]
pub struct Peers {
    /// Those of a database first; within each part the first that is there counts.
    wanted: Vec<Vec<u8>>,
    /// A bit for the length and the first byte of every wanted key: most others are told apart by it.
    known: u64,
}

impl Peers {
    /// With the attributes of the user's choice after those of databases.
    pub fn new(peer_attributes: &[String]) -> Peers {
        let keys = DATABASE.into_iter().chain(peer_attributes.iter().map(String::as_str));
        let wanted: Vec<Vec<u8>> = keys.map(|key| key.as_bytes().to_vec()).collect();
        let known = wanted.iter().fold(0, |bits, key| bits | bit(key));
        Peers { wanted, known }
    }

    /// Whether an attribute list may name a database; `false` is certain.
    #[inline]
    pub fn may_be_database(&self, list: &[u8]) -> bool {
        let mut rest = list;
        while let Some((entry, after)) = split_entry(rest) {
            rest = after;
            if usual_key(entry).is_none_or(|key| key.starts_with(b"db.")) {
                return true;
            }
        }
        false
    }

    fn rank(&self, key: &[u8]) -> Option<usize> {
        self.wanted.iter().position(|wanted| wanted == key)
    }

    /// Looks a span's attribute list through.
    pub fn find<'a>(&self, list: &'a [u8]) -> Option<Peer<'a>> {
        let (mut database, mut peer) = (None, None);
        let mut rest = list;
        while let Some((entry, after)) = split_entry(rest) {
            rest = after;
            let usual = usual_key(entry);
            if usual.is_some_and(|key| self.known & bit(key) == 0 || self.rank(key).is_none()) {
                continue;
            }
            let Some((key, RawValue::Text(text))) = attribute::iter_raw(entry).next() else { continue };
            let Some(rank) = self.rank(key) else { continue };
            let best = if rank < DATABASE.len() { &mut database } else { &mut peer };
            if best.is_none_or(|(best, _)| rank < best)
                && let Some(name) = name_of(text)
            {
                *best = Some((rank, name));
            }
        }
        let is_explicit =
            |(rank, _): &(usize, &str)| self.wanted.get(*rank).is_some_and(|key| key == EXPLICIT.as_bytes());
        let (_, name) = peer.filter(is_explicit).or(database).or(peer)?;
        Some(Peer { name, is_database: database.is_some() })
    }
}

/// The first entry of an attribute list, with its length before it, and what follows.
#[inline]
fn split_entry(list: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut reader = Reader::new(list);
    let message = if list.is_empty() { None } else { reader.delimited().ok() };
    message?;
    list.split_at_checked(list.len() - reader.rest().len())
}

/// The key of an entry that is written as every SDK does, if it and its length are short.
#[inline]
fn usual_key(entry: &[u8]) -> Option<&[u8]> {
    const KEY: u8 = 0x0a;
    match entry {
        [0..=0x7f, KEY, len, rest @ ..] | [0x80..=0xff, 0..=0x7f, KEY, len, rest @ ..] if *len < 0x80 => {
            rest.get(..usize::from(*len))
        }
        _ => None,
    }
}

#[inline]
fn bit(key: &[u8]) -> u64 {
    let first = usize::from(key.first().copied().unwrap_or_default());
    1 << ((key.len() * 7 + first) & 63)
}

/// A text that can name somebody: the numbers of Redis' databases cannot.
fn name_of(text: &[u8]) -> Option<&str> {
    if text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(text).ok().map(label_value)
}

#[cfg(test)]
mod tests {
    use throughline_model::protobuf::put_bytes;

    use super::*;
    use crate::config::GraphConfig;

    fn find(attributes: &[(&str, &str)]) -> Option<(String, bool)> {
        let mut list = Vec::new();
        for (key, value) in attributes {
            let (mut any, mut message) = (Vec::new(), Vec::new());
            put_bytes(&mut any, 1, value.as_bytes());
            put_bytes(&mut message, 1, key.as_bytes());
            put_bytes(&mut message, 2, &any);
            throughline_model::protobuf::put_varint(&mut list, message.len() as u64);
            list.extend(message);
        }
        let peers = Peers::new(&GraphConfig::default().peer_attributes);
        let found = peers.find(&list);
        assert!(peers.may_be_database(&list) || found.as_ref().is_none_or(|peer| !peer.is_database));
        found.map(|peer| (peer.name.to_owned(), peer.is_database))
    }

    #[test]
    fn the_surest_attribute_names_the_peer() {
        let name = |text: &str, is_database| Some((text.to_owned(), is_database));
        assert_eq!(find(&[("http.method", "GET")]), None);
        assert_eq!(find(&[("server.address", "pay.example"), ("peer.service", "pay")]), name("pay", false));
        assert_eq!(find(&[("net.peer.name", "pay.example")]), name("pay.example", false));
        assert_eq!(find(&[("db.system", "postgresql"), ("db.name", "orders")]), name("orders", true));
        assert_eq!(find(&[("db.system", "redis"), ("db.namespace", "0")]), name("redis", true));
        assert_eq!(find(&[("db.system", "redis"), ("peer.service", "cache")]), name("cache", true));
        assert_eq!(find(&[("server.address", "db1"), ("db.system.name", "mysql")]), name("mysql", true));
        assert_eq!(
            find(&[("messaging.system", "kafka"), ("messaging.destination.name", "orders")]),
            name("orders", false)
        );
        assert_eq!(find(&[("peer.service", "")]), None);
    }
}
