//! From what discovery says to what is scraped: labels, relabelling, address.

use std::borrow::Cow;
use std::time::Duration;

use throughline_wire::prometheus::exposition::Histograms;
use xxhash_rust::xxh3::Xxh3;

use crate::duration;
use crate::job::Job;
use crate::labels::LabelSet;
use crate::relabel;

const ADDRESS: &str = "__address__";
const SCHEME: &str = "__scheme__";
const PATH: &str = "__metrics_path__";
const INTERVAL: &str = "__scrape_interval__";
const TIMEOUT: &str = "__scrape_timeout__";
const PARAM: &str = "__param_";
const NATIVE: &str = "__scrape_native_histograms__";
const ALWAYS_CLASSIC: &str = "__always_scrape_classic_histograms__";
const CONVERT: &str = "__convert_classic_histograms_to_nhcb__";

/// Names and values.
pub type Labels = Vec<(String, String)>;

/// Something to scrape.
#[derive(Clone, Debug, PartialEq)]
pub struct Target {
    /// The labels that its series get.
    pub labels: Labels,
    /// What discovery said of it, before relabelling.
    pub discovered: Labels,
    /// `http`, or what is refused when it is scraped.
    pub scheme: String,
    /// Host and port.
    pub authority: String,
    /// What is asked for there.
    pub path_and_query: String,
    /// How often.
    pub interval: Duration,
    /// How long a scrape may take.
    pub timeout: Duration,
    /// What becomes of histograms.
    pub histograms: Histograms,
    /// The same for the same target, in every process.
    pub hash: u64,
}

/// What became of a discovered target.
#[derive(Clone, Debug, PartialEq)]
pub enum Populated {
    /// It is scraped.
    Target(Box<Target>),
    /// A rule dropped it; what discovery said of it.
    Dropped(Labels),
}

impl Target {
    /// The target that discovery and relabelling make of an address and labels; those of the target win over those of
    /// its group.
    pub fn populate(job: &Job, address: &str, group: &[(String, String)]) -> Result<Populated, String> {
        let mut labels = discovered_labels(job, address, group);
        let discovered = labels.to_owned_pairs();
        if !relabel::apply(&job.target_rules, &mut labels) {
            return Ok(Populated::Dropped(discovered));
        }
        let authority = checked_address(labels.get(ADDRESS))?;
        let interval = checked_duration(labels.get(INTERVAL), "interval")?;
        let timeout = checked_duration(labels.get(TIMEOUT), "timeout")?;
        if timeout > interval {
            let [timeout, interval] = [timeout, interval].map(duration::format);
            return Err(format!("the scrape timeout {timeout} is longer than the interval {interval}"));
        }
        if labels.get("instance").is_empty() {
            labels.set("instance", authority.clone());
        }
        let path_and_query = path_and_query(job, &labels);
        let scheme = labels.get(SCHEME).to_owned();
        let histograms = Histograms {
            native: labels.get(NATIVE) == "true",
            always_classic: labels.get(ALWAYS_CLASSIC) == "true",
            convert_classic: labels.get(CONVERT) == "true",
        };
        labels.retain(|name| !name.starts_with("__"));
        let labels = labels.to_owned_pairs();
        let hash = hash(&labels, &[&scheme, &authority, &path_and_query]);
        let target = Target {
            labels,
            discovered,
            scheme,
            authority,
            path_and_query,
            interval,
            timeout,
            histograms,
            hash,
        };
        Ok(Populated::Target(Box::new(target)))
    }

    /// The URL of its page.
    pub fn url(&self) -> String {
        format!("{}://{}{}", self.scheme, self.authority, self.path_and_query)
    }

    /// How long from `now_ns` to its next scrape: targets are spread over the interval, each at its place whenever and
    /// wherever this runs, shifted by the seed of the process.
    pub fn offset(&self, now_ns: i64, seed: u64) -> Duration {
        let interval = self.interval.as_nanos().max(1);
        let into = now_ns.max(0).cast_unsigned() as u128 % interval;
        let place = u128::from(self.hash ^ seed) % interval;
        let wait = if place >= into { place - into } else { interval - into + place };
        Duration::from_nanos(u64::try_from(wait).unwrap_or(u64::MAX))
    }
}

fn discovered_labels(job: &Job, address: &str, group: &[(String, String)]) -> LabelSet<'static> {
    let mut labels = LabelSet::default();
    for (name, value) in group {
        labels.set(name.clone(), value.clone());
    }
    labels.set(ADDRESS, address.to_owned());
    let flag = |on: bool| if on { "true" } else { "false" }.to_owned();
    let defaults = [
        ("job", job.name.clone()),
        (INTERVAL, duration::format(job.interval)),
        (TIMEOUT, duration::format(job.timeout)),
        (PATH, job.fetch.path.clone()),
        (SCHEME, job.fetch.scheme.clone()),
        (NATIVE, flag(job.histograms.native)),
        (ALWAYS_CLASSIC, flag(job.histograms.always_classic)),
        (CONVERT, flag(job.histograms.convert_classic)),
    ];
    let params =
        job.fetch.params.iter().filter_map(|(name, values)| {
            Some((Cow::Owned(format!("{PARAM}{name}")), values.first()?.clone()))
        });
    for (name, value) in defaults.into_iter().map(|(name, value)| (Cow::Borrowed(name), value)).chain(params)
    {
        if labels.get(&name).is_empty() {
            labels.set(name, value);
        }
    }
    labels
}

fn checked_address(address: &str) -> Result<String, String> {
    if address.is_empty() {
        return Err("the target has no address".to_owned());
    }
    let is_plain = |c: char| c.is_ascii_graphic() && !matches!(c, '/' | '?' | '#' | '@' | '\\');
    if !address.chars().all(is_plain) {
        return Err(format!("{address:?} is not an address: write host:port"));
    }
    Ok(address.to_owned())
}

fn checked_duration(text: &str, what: &str) -> Result<Duration, String> {
    duration::parse(text)
        .filter(|duration| !duration.is_zero())
        .ok_or_else(|| format!("{text:?} is not a scrape {what}: write a duration above 0, such as 15s"))
}

fn path_and_query(job: &Job, labels: &LabelSet<'_>) -> String {
    let mut params = job.fetch.params.clone();
    for (name, value) in labels.iter() {
        let Some(name) = name.strip_prefix(PARAM) else { continue };
        let values = params.entry(name.to_owned()).or_default();
        match values.first_mut() {
            Some(first) => value.clone_into(first),
            None => values.push(value.to_owned()),
        }
    }
    let mut query = form_urlencoded::Serializer::new(String::new());
    for (name, values) in &params {
        values.iter().for_each(|value| _ = query.append_pair(name, value));
    }
    let query = query.finish();
    let mut out = String::new();
    if !labels.get(PATH).starts_with('/') {
        out.push('/');
    }
    escape_path(&mut out, labels.get(PATH));
    if !query.is_empty() {
        out.push('?');
        out += &query;
    }
    out
}

/// A path may be any text: what has a meaning in a URL beside `/` is escaped.
fn escape_path(out: &mut String, path: &str) {
    for byte in path.bytes() {
        if byte.is_ascii_alphanumeric() || b"/-._~!$&'()*+,;=:@%".contains(&byte) {
            out.push(char::from(byte));
        } else {
            *out += &format!("%{byte:02X}");
        }
    }
}

fn hash(labels: &[(String, String)], parts: &[&String]) -> u64 {
    let mut hash = Xxh3::new();
    let pairs = labels.iter().flat_map(|(name, value)| [name, value]);
    for text in pairs.chain(parts.iter().copied()) {
        hash.update(text.as_bytes());
        // No text of UTF-8 has this byte.
        hash.update(&[0xff]);
    }
    hash.digest()
}

#[cfg(test)]
mod tests;
