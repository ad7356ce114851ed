//! Own metrics in Prometheus' text format.

use std::fmt::Write as _;

/// What kind of metric a family is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It only grows; its name ends in `_total`.
    Counter,
    /// It goes up and down.
    Gauge,
}

/// A metric with all its samples.
#[derive(Clone, Debug)]
pub struct Family {
    /// Its name.
    pub name: &'static str,
    /// One sentence.
    pub help: &'static str,
    /// Its kind.
    pub kind: Kind,
    /// Labels as they stand between the braces, and values.
    pub samples: Vec<(String, f64)>,
}

impl Family {
    /// A counter.
    pub fn counter(name: &'static str, help: &'static str, samples: Vec<(String, f64)>) -> Family {
        Family { name, help, kind: Kind::Counter, samples }
    }

    /// A gauge.
    pub fn gauge(name: &'static str, help: &'static str, samples: Vec<(String, f64)>) -> Family {
        Family { name, help, kind: Kind::Gauge, samples }
    }

    /// A gauge without labels.
    pub fn value(name: &'static str, help: &'static str, value: f64) -> Family {
        Family::gauge(name, help, vec![(String::new(), value)])
    }

    /// A counter without labels.
    pub fn total(name: &'static str, help: &'static str, value: f64) -> Family {
        Family::counter(name, help, vec![(String::new(), value)])
    }
}

/// A label with its value escaped.
pub fn label(name: &str, value: &str) -> String {
    let value = value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
    format!("{name}=\"{value}\"")
}

/// Writes families as Prometheus' text format.
pub fn write(families: &[Family]) -> String {
    let mut out = String::new();
    for family in families {
        let kind = match family.kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
        };
        _ = writeln!(out, "# HELP {} {}\n# TYPE {} {kind}", family.name, family.help, family.name);
        for (labels, value) in &family.samples {
            if labels.is_empty() {
                _ = writeln!(out, "{} {value}", family.name);
            } else {
                _ = writeln!(out, "{}{{{labels}}} {value}", family.name);
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_are_written_with_help_type_and_samples() {
        let families = [
            Family::counter("a_total", "Things.", vec![(label("reason", "x\"y\n"), 2.0)]),
            Family::value("b_bytes", "Bytes.", 1.5),
        ];
        let expected = "# HELP a_total Things.\n# TYPE a_total counter\na_total{reason=\"x\\\"y\\n\"} 2\n\
                        # HELP b_bytes Bytes.\n# TYPE b_bytes gauge\nb_bytes 1.5\n";
        assert_eq!(write(&families), expected);
    }
}
