//! Counters over restarts: the state is that of all stored spans, once each, wherever the process or the power ends.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use throughline_derive::{Derivation, DeriveConfig, Deriver, checkpoint};
use throughline_model::Signal;
use throughline_model::protobuf::{put_bytes, put_fixed64, put_number};
use throughline_store::engine::Engine;
use throughline_store::{Clock as _, Durability, ManualClock, SimDisk, StoreConfig, Write};
use throughline_wire::{Compression, DecodeContext, Encoding};

use crate::values::{NOW, SECOND, Span, batch};

/// A small generator, the same everywhere (SplitMix64).
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.0;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (word ^ (word >> 31)) % end
    }
}

const SERVICES: [&str; 4] = ["shop", "cart", "pay", "mail"];

fn random_span(random: &mut Random) -> Span {
    let span = Span::new(SERVICES[random.below(4) as usize], random.below(6) as u8, random.below(40));
    Span {
        trace: u128::from(random.below(3)),
        parent: (random.below(3) > 0).then(|| random.below(40)),
        name: format!("GET /user/{}", random.below(12)),
        status: random.below(3) as u8,
        duration_ns: random.below(20_000_000_000) as i64 - 5,
        weight: (random.below(4) == 0).then(|| random.below(1000) as f64 / 7.0),
        attributes: match random.below(4) {
            0 => vec![("peer.service", "bank")],
            1 => vec![("db.system", "redis")],
            _ => Vec::new(),
        },
        ..span
    }
}

#[test]
fn any_split_into_batches_and_any_restart_come_to_the_same_state() {
    for seed in 0..20 {
        let mut random = Random(seed);
        let config = DeriveConfig { cardinality_limit: 60, ..DeriveConfig::default() };
        let (mut whole, mut split) = (Deriver::new(&config), Deriver::new(&config));
        let mut at = NOW;
        for _ in 0..40 {
            // Sometimes so long that series are forgotten.
            at += if random.below(10) == 0 { 1000 } else { random.below(6) as i64 } * SECOND;
            let spans: Vec<Span> = (0..random.below(30)).map(|_| random_span(&mut random)).collect();
            whole.observe(at, &batch(&spans));
            split.advance(at);
            let mut rest = &spans[..];
            while !rest.is_empty() {
                let (head, tail) = rest.split_at(1 + random.below(rest.len() as u64) as usize);
                split.observe(at, &batch(head));
                rest = tail;
                if random.below(3) == 0 {
                    let bytes = checkpoint::encode(&split, &config, 5);
                    let (restored, lsn) = checkpoint::decode(&bytes, &config).expect("a whole checkpoint");
                    assert_eq!(lsn, 5);
                    split = restored;
                }
            }
            assert!(
                checkpoint::encode(&whole, &config, 0) == checkpoint::encode(&split, &config, 0),
                "seed {seed}"
            );
        }
    }
}

#[test]
fn a_checkpoint_that_is_not_as_it_was_written_is_not_used() {
    let config = DeriveConfig::default();
    let mut random = Random(1);
    let mut deriver = Deriver::new(&config);
    deriver.observe(NOW, &batch(&(0..50).map(|_| random_span(&mut random)).collect::<Vec<_>>()));
    let bytes = checkpoint::encode(&deriver, &config, 9);
    for _ in 0..400 {
        let mut damaged = bytes.clone();
        damaged[random.below(bytes.len() as u64) as usize] ^= 1 << random.below(8);
        assert!(checkpoint::decode(&damaged, &config).is_err());
        assert!(checkpoint::decode(&bytes[..random.below(bytes.len() as u64) as usize], &config).is_err());
    }
    let other = DeriveConfig { histogram_buckets: vec![1.0], ..config };
    assert_eq!(checkpoint::decode(&bytes, &other).err(), Some(checkpoint::Unusable::Shape));
}

// === on a simulated disk ===

struct Rig {
    disk: SimDisk,
    clock: Arc<ManualClock>,
    config: StoreConfig,
    derivation: Arc<Derivation>,
    engine: Engine,
}

impl Rig {
    fn open(disk: SimDisk, clock: Arc<ManualClock>, durability: Durability) -> Rig {
        let retention = Duration::from_secs(30 * 86_400);
        let config = StoreConfig { durability, ..StoreConfig::new("data".into(), retention) };
        let shared = Arc::new(disk.clone());
        let derivation = Derivation::load(DeriveConfig::default(), shared.clone(), Path::new("data"))
            .expect("the checkpoint is read");
        let engine = Engine::open_observed(config.clone(), shared, clock.clone(), derivation.clone());
        Rig { disk, clock, config, derivation, engine: engine.expect("the store opens") }
    }

    fn new(seed: u64, durability: Durability) -> Rig {
        Rig::open(SimDisk::new(seed), Arc::new(ManualClock::at(NOW)), durability)
    }

    /// Ends without a word, with the power or without, and opens again.
    fn restart(self, power_cut: Option<u64>) -> Rig {
        let Rig { disk, clock, config, engine, .. } = self;
        drop(engine);
        if let Some(seed) = power_cut {
            disk.crash(seed);
        }
        Rig::open(disk, clock, config.durability)
    }

    /// Stores spans; true if it was acknowledged.
    fn store(&self, body: &[u8]) -> bool {
        let context = DecodeContext { received_at: self.clock.now(), limits: self.config.limits };
        let decoded = throughline_wire::decode(Signal::Traces, Encoding::Protobuf, body, &context);
        let decoded = decoded.expect("decodes");
        let write = Write {
            signal: Signal::Traces,
            encoding: Encoding::Protobuf,
            compression: Compression::Identity,
            body: body.to_vec().into(),
            received_at: self.clock.now(),
            content_hash: xxhash_rust::xxh3::xxh3_128(body),
            batch: decoded.batch,
            rejected: decoded.rejected,
        };
        let (sender, answer) = std::sync::mpsc::channel();
        self.engine.submit(write, Box::new(move |result| _ = sender.send(result.is_ok())));
        self.engine.commit_once();
        answer.recv().expect("an answer")
    }

    fn flush(&self) {
        while self.engine.flush_once().expect("a flush") {}
    }

    fn state(&self) -> Vec<u8> {
        self.derivation.with_state(|deriver| checkpoint::encode(deriver, &DeriveConfig::default(), 0))
    }

    fn counted(&self) -> f64 {
        self.derivation.with_state(|deriver| deriver.red.table.iter().map(|s| s.value.latency.count()).sum())
    }
}

/// A request of so many spans.
fn request(random: &mut Random, spans: u64) -> Vec<u8> {
    let mut scope = Vec::new();
    for _ in 0..spans {
        let mut span = Vec::new();
        put_bytes(&mut span, 1, &u128::from(random.below(50) + 1).to_be_bytes());
        put_bytes(&mut span, 2, &(random.below(1 << 40) + 1).to_be_bytes());
        if random.below(2) == 0 {
            put_bytes(&mut span, 4, &(random.below(1 << 40) + 1).to_be_bytes());
        }
        put_bytes(&mut span, 5, format!("operation {}", random.below(9)).as_bytes());
        put_number(&mut span, 6, random.below(6));
        put_fixed64(&mut span, 7, NOW as u64);
        put_fixed64(&mut span, 8, NOW as u64 + random.below(1 << 33));
        put_bytes(&mut scope, 2, &span);
    }
    let (mut resource, mut body) = (Vec::new(), Vec::new());
    put_bytes(&mut resource, 2, &scope);
    put_bytes(&mut body, 1, &resource);
    body
}

#[test]
fn the_state_after_a_restart_is_the_one_before_it() {
    for seed in 0..8 {
        let mut random = Random(seed);
        let mut rig = Rig::new(seed, Durability::Fsync);
        let (mut stored, mut sent): (u64, Vec<Vec<u8>>) = (0, Vec::new());
        for _ in 0..50 {
            rig.clock.advance(Duration::from_millis(random.below(4_000)));
            match random.below(9) {
                0 => rig.flush(),
                1 => _ = rig.engine.freeze(),
                2 => {
                    let before = rig.state();
                    let power_cut = (random.below(2) == 0).then(|| random.below(1 << 40));
                    rig = rig.restart(power_cut);
                    assert!(rig.state() == before, "seed {seed}, {power_cut:?}");
                }
                3 => {
                    let before = rig.state();
                    rig.engine.close().expect("closes");
                    rig = rig.restart(None);
                    assert!(rig.state() == before, "seed {seed}, closed in order");
                }
                4 if !sent.is_empty() => {
                    assert!(rig.store(&sent[random.below(sent.len() as u64) as usize]), "a retry");
                }
                _ => {
                    let spans = 1 + random.below(20);
                    let body = request(&mut random, spans);
                    assert!(rig.store(&body));
                    stored += spans;
                    sent.push(body);
                }
            }
            assert_eq!(rig.counted(), stored as f64, "seed {seed}");
            assert_eq!(rig.engine.ledger().traces.stored, stored, "seed {seed}");
        }
    }
}

#[test]
fn a_checkpoint_that_cannot_be_written_keeps_the_log() {
    let mut random = Random(3);
    let rig = Rig::new(3, Durability::Fsync);
    assert!(rig.store(&request(&mut random, 10)));
    // Somebody put a folder where the checkpoint should be.
    use throughline_store::Disk as _;
    rig.disk.create_dir_all(Path::new("data/derived.tmp")).expect("a folder");
    assert!(rig.engine.flush_once().is_err());
    let before = rig.state();
    rig.disk.remove_dir(Path::new("data/derived.tmp")).expect("removed");
    let rig = rig.restart(Some(1));
    assert!(rig.state() == before);
    rig.flush();
    assert!(rig.restart(None).state() == before);
}

#[test]
fn counters_do_not_fall_back_where_acknowledged_means_written_only() {
    let mut random = Random(4);
    let rig = Rig::new(4, Durability::Os);
    assert!(rig.store(&request(&mut random, 10)));
    rig.engine.freeze();
    // It is counted by the checkpoint of the flush, and its frame is not durable.
    assert!(rig.store(&request(&mut random, 7)));
    rig.flush_frozen();
    let rig = rig.restart(Some(9));
    let counted = rig.counted();
    assert!(counted == 17.0, "{counted}");
    let stored = rig.engine.ledger().traces.stored;
    assert!(rig.store(&request(&mut random, 5)));
    rig.engine.sync_once().expect("synced");
    let rig = rig.restart(Some(10));
    assert_eq!(rig.engine.ledger().traces.stored, stored + 5);
    assert_eq!(rig.counted(), 22.0, "a frame whose number came again is counted");
}

impl Rig {
    /// Writes what is frozen and nothing else.
    fn flush_frozen(&self) {
        assert!(self.engine.flush_once().expect("a flush"));
    }
}
