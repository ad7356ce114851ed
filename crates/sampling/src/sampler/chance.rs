//! The chance that a trace stays: the part of all draws with which the policies would keep a trace like it.
//!
//! A `probabilistic` policy draws a number from a hash of the id and its salt, and policies with one salt draw the same
//! number: a trace that the one with the smaller share wants, the other wants as well. So the numbers that can be drawn are
//! cut into cells, at the shares of each salt, within which no decision changes; the policies are asked what they would say
//! in each, and the chance is the sum of those in which the trace stays. What a rate says cannot be known for other draws:
//! where it matters the chance is unknown.

use super::{Trace, is_so};
use crate::policy::{Kind, Policy};

/// Cells that are looked at; beyond it chances are unknown.
const CELLS_MAX: usize = 256;

/// A number that is drawn for each salt: all numbers up to this share.
type Draw = Vec<f64>;

/// The cells of what can be drawn.
#[derive(Clone, Debug, Default)]
pub(super) struct Cells {
    salts: Vec<String>,
    /// The upper end for each salt, and how large a part of all draws the cell is. None where there are too many.
    cells: Option<Vec<(Draw, f64)>>,
}

impl Cells {
    /// The cells of a list of policies.
    pub(super) fn of(policies: &[Policy]) -> Cells {
        let mut shares: Vec<(String, Vec<f64>)> = Vec::new();
        policies.iter().for_each(|policy| gather(policy, &mut shares));
        let mut cells: Vec<(Draw, f64)> = vec![(Vec::new(), 1.0)];
        for (_, shares) in &mut shares {
            shares.push(1.0);
            shares.retain(|share| *share > 0.0);
            shares.sort_by(f64::total_cmp);
            shares.dedup();
            let mut next = Vec::new();
            for (draw, part) in &cells {
                let mut from = 0.0;
                for to in shares.iter().copied() {
                    let draw = draw.iter().copied().chain([to]).collect();
                    next.push((draw, part * (to - from)));
                    from = to;
                }
            }
            cells = next;
            if cells.len() > CELLS_MAX {
                return Cells { salts: Vec::new(), cells: None };
            }
        }
        Cells { salts: shares.into_iter().map(|(salt, _)| salt).collect(), cells: Some(cells) }
    }

    /// The chance that a trace stays for which the policies have these votes.
    pub(super) fn chance(&self, votes: &[(&Policy, bool)], trace: &Trace<'_>) -> Option<f64> {
        let is_random: Vec<bool> = votes.iter().map(|(policy, _)| is_random(policy)).collect();
        let mut chance = 0.0;
        for (draw, part) in self.cells.as_ref()? {
            // Of what has neither chance nor rate the vote is known.
            let says = votes.iter().zip(&is_random).map(|((policy, wants), is_random)| {
                let says = if *is_random { self.would(policy, trace, draw) } else { Some(*wants) };
                (matches!(policy.kind, Kind::Drop(_)), says)
            });
            let (mut is_dropped, mut is_wanted) = (Some(false), Some(false));
            for (is_drop, says) in says {
                let any = if is_drop { &mut is_dropped } else { &mut is_wanted };
                *any = either(*any, says);
            }
            let stays = both(is_dropped.map(|is_dropped| !is_dropped), is_wanted)?;
            chance += if stays { *part } else { 0.0 };
        }
        // What was drawn is one of the draws; the rest is rounding.
        (chance > 0.0).then_some(if chance > 1.0 - 1e-12 { 1.0 } else { chance })
    }

    /// Whether a policy would want a trace with some draw, or within a rate.
    pub(super) fn may_want(&self, policy: &Policy, trace: &Trace<'_>) -> bool {
        is_random(policy)
            && self.cells.as_ref().is_none_or(|cells| {
                cells.iter().any(|(draw, _)| self.would(policy, trace, draw) != Some(false))
            })
    }

    /// Whether a policy that wants a trace wants it whatever is drawn.
    pub(super) fn surely_want(&self, policy: &Policy, trace: &Trace<'_>) -> bool {
        !is_random(policy)
            || self.cells.as_ref().is_some_and(|cells| {
                cells.iter().all(|(draw, _)| self.would(policy, trace, draw) == Some(true))
            })
    }

    /// What a policy would say with a draw; none where a rate has a part in it.
    fn would(&self, policy: &Policy, trace: &Trace<'_>, draw: &Draw) -> Option<bool> {
        match &policy.kind {
            Kind::And(parts) | Kind::Drop(parts) => {
                // One that is not known may be followed by one that decides.
                let mut all = Some(true);
                for part in parts {
                    all = both(all, self.would(part, trace, draw));
                }
                all
            }
            Kind::Not(part) => self.would(part, trace, draw).map(|wants| !wants),
            Kind::Probabilistic { hash_salt, sampling_percentage } => {
                let at = self.salts.iter().position(|salt| salt == hash_salt);
                let drawn = at.and_then(|at| draw.get(at)).copied().unwrap_or(1.0);
                Some(*sampling_percentage > 0.0 && drawn <= sampling_percentage / 100.0)
            }
            Kind::RateLimiting { .. } | Kind::BytesLimiting { .. } => None,
            Kind::Composite { parts, .. } => {
                // Whichever wants it, a rate decides.
                let wants = |(part, _): &(Policy, u64)| self.would(part, trace, draw) != Some(false);
                if parts.iter().any(wants) { None } else { Some(false) }
            }
            kind => Some(is_so(kind, trace)),
        }
    }
}

/// The shares of each salt.
fn gather(policy: &Policy, shares: &mut Vec<(String, Vec<f64>)>) {
    match &policy.kind {
        Kind::Probabilistic { hash_salt, sampling_percentage } => {
            let share = sampling_percentage / 100.0;
            match shares.iter_mut().find(|(salt, _)| salt == hash_salt) {
                Some((_, of_salt)) => of_salt.push(share),
                None => shares.push((hash_salt.clone(), vec![share])),
            }
        }
        Kind::And(parts) | Kind::Drop(parts) => parts.iter().for_each(|part| gather(part, shares)),
        Kind::Not(part) => gather(part, shares),
        Kind::Composite { parts, .. } => parts.iter().for_each(|(part, _)| gather(part, shares)),
        _ => {}
    }
}

/// Whether a draw or a rate has a part in what a policy says.
fn is_random(policy: &Policy) -> bool {
    match &policy.kind {
        Kind::Probabilistic { .. }
        | Kind::RateLimiting { .. }
        | Kind::BytesLimiting { .. }
        | Kind::Composite { .. } => true,
        Kind::And(parts) | Kind::Drop(parts) => parts.iter().any(is_random),
        Kind::Not(part) => is_random(part),
        _ => false,
    }
}

/// Both, where one that is false decides whatever is not known of the other.
fn both(a: Option<bool>, b: Option<bool>) -> Option<bool> {
    match (a, b) {
        (Some(false), _) | (_, Some(false)) => Some(false),
        (a, b) => a.zip(b).map(|(a, b)| a && b),
    }
}

/// Either, where one that is true decides.
fn either(a: Option<bool>, b: Option<bool>) -> Option<bool> {
    both(a.map(|a| !a), b.map(|b| !b)).map(|neither| !neither)
}
