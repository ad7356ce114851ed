//! Figures as a table: median of the runs, the bar, and how the two relate.

use serde::Serialize;

/// One figure.
#[derive(Clone, Debug, Serialize)]
pub struct Figure {
    /// Who: `throughline` or the name of a peer.
    pub system: String,
    /// What was done.
    pub job: String,
    /// What was measured.
    pub measure: String,
    /// In what.
    pub unit: String,
    /// The figure of every run.
    pub runs: Vec<f64>,
    /// What it should be, where there is a bar.
    pub bar: Option<Bar>,
}

/// What a figure should be.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Bar {
    /// At least so much.
    AtLeast(f64),
    /// At most so much.
    AtMost(f64),
}

impl Figure {
    /// The median of the runs.
    pub fn median(&self) -> f64 {
        median(&self.runs)
    }

    /// Whether the figure is what it should be.
    pub fn is_met(&self) -> bool {
        match self.bar {
            None => true,
            Some(Bar::AtLeast(bar)) => self.median() >= bar,
            Some(Bar::AtMost(bar)) => self.median() <= bar,
        }
    }

    fn verdict(&self) -> String {
        match self.bar {
            None => String::new(),
            Some(Bar::AtLeast(bar)) => verdict(bar, self.median() / bar, self.is_met()),
            Some(Bar::AtMost(bar)) => verdict(bar, bar / self.median(), self.is_met()),
        }
    }
}

fn verdict(bar: f64, ratio: f64, met: bool) -> String {
    format!("{} {} ({ratio:.2} x)", number(bar), if met { "met" } else { "MISSED" })
}

/// The middle of some figures.
pub fn median(figures: &[f64]) -> f64 {
    let mut sorted = figures.to_vec();
    sorted.sort_by(f64::total_cmp);
    match sorted.len() {
        0 => 0.0,
        n if n % 2 == 1 => sorted[n / 2],
        n => f64::midpoint(sorted[n / 2 - 1], sorted[n / 2]),
    }
}

/// A percentile (0 to 100) of some figures.
pub fn percentile(figures: &[f64], percent: f64) -> f64 {
    let mut sorted = figures.to_vec();
    sorted.sort_by(f64::total_cmp);
    let at = (sorted.len().saturating_sub(1) as f64 * percent / 100.0).round() as usize;
    sorted.get(at).copied().unwrap_or(0.0)
}

/// Prints all figures, and under each peer's how ours relates to it.
pub fn print(figures: &[Figure]) {
    println!("{:<15} {:<34} {:<30} {:>12} {:<9} bar", "system", "job", "measure", "median", "unit");
    for figure in figures {
        let spread = if figure.runs.len() > 1 { format!(" [{}]", list(&figure.runs)) } else { String::new() };
        println!(
            "{:<15} {:<34} {:<30} {:>12} {:<9} {}{}{}",
            figure.system,
            figure.job,
            figure.measure,
            number(figure.median()),
            figure.unit,
            figure.verdict(),
            ratio_to_ours(figures, figure),
            spread,
        );
    }
}

fn ratio_to_ours(figures: &[Figure], figure: &Figure) -> String {
    let same = |other: &&Figure| other.job == figure.job && other.measure == figure.measure;
    let ours = figures.iter().filter(same).find(|other| other.system == super::OURS);
    match ours {
        Some(ours) if figure.system != super::OURS && figure.median() > 0.0 => {
            format!(" throughline / {} = {:.2}", figure.system, ours.median() / figure.median())
        }
        _ => String::new(),
    }
}

fn list(figures: &[f64]) -> String {
    figures.iter().map(|figure| number(*figure)).collect::<Vec<_>>().join(" ")
}

/// A number with as many digits as matter.
pub fn number(value: f64) -> String {
    match value.abs() {
        v if v >= 10_000.0 => {
            let digits = format!("{:.0}", value.abs());
            let groups: Vec<&str> = digits
                .as_bytes()
                .rchunks(3)
                .rev()
                .filter_map(|chunk| std::str::from_utf8(chunk).ok())
                .collect();
            groups.join(",")
        }
        v if v >= 100.0 => format!("{value:.0}"),
        v if v >= 1.0 => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn middle_and_percentiles() {
        assert_eq!((median(&[3.0, 1.0, 2.0]), median(&[4.0, 1.0])), (2.0, 2.5));
        let hundred: Vec<f64> = (0..=100).map(f64::from).collect();
        assert_eq!((percentile(&hundred, 50.0), percentile(&hundred, 99.0)), (50.0, 99.0));
        assert_eq!(
            (number(1_234_567.0), number(12.345), number(0.0125)),
            ("1,234,567".into(), "12.35".into(), "0.013".into())
        );
    }

    #[test]
    fn bars_are_met_from_the_right_side() {
        let figure = |runs: &[f64], bar| Figure {
            system: "throughline".into(),
            job: "j".into(),
            measure: "m".into(),
            unit: "u".into(),
            runs: runs.to_vec(),
            bar: Some(bar),
        };
        assert!(figure(&[44.0], Bar::AtMost(44.0)).verdict().contains("met"));
        assert!(figure(&[44.0], Bar::AtLeast(50.0)).verdict().contains("MISSED"));
    }
}
