//! Suspects: all differences by the service that they are charged to, ranked, and put into words.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde_json::{Map, Value as Json};
use throughline_store::{Error, Snapshot, TimeRange};

use super::errors::{LooseRule, Rule};
use super::evidence::{Words, round};
use super::illustrations::{Lack, Subject};
use super::latency::{SlowService, is_unanswered_call};
use super::read::Reading;
use super::resources::{Deployed, Full, instance};
use super::statistics::any_of;
use super::usage::{self, Usages};
use super::vocabulary::{Feature, Spender, Vocabulary};
use super::{CauseClass, Evidence, EvidenceKind, SCORE_MIN, Suspect};

/// Pieces of evidence that one suspect has.
const EVIDENCE_MAX: usize = 11;
/// Of them so many differences; besides a new version, how its metrics moved, a span, an exemplar, and what its instances use.
const SHOWN_MAX: usize = EVIDENCE_MAX - 4 - USAGES_MAX;
/// Numbers of what is used.
const USAGES_MAX: usize = 2;
/// Suspects of whom it is said what does not illustrate them.
const LACKS_SUSPECTS: usize = 3;
/// What a new version adds to a suspicion that there is already.
const DEPLOYMENT_WEIGHT: f64 = 0.3;

/// Everything that was found.
pub(super) struct Found<'a> {
    pub(super) snapshot: &'a Snapshot,
    pub(super) window: TimeRange,
    pub(super) baseline: TimeRange,
    pub(super) now: &'a Reading,
    pub(super) before: &'a Reading,
    pub(super) vocabulary: &'a Vocabulary,
    pub(super) rules: Vec<Rule>,
    pub(super) slow: BTreeMap<u32, SlowService>,
    pub(super) loose: Vec<LooseRule>,
    pub(super) deployed: BTreeMap<u32, Vec<Deployed>>,
    pub(super) full: &'a [Full],
}

/// What speaks against one service.
struct Against<'a> {
    service: String,
    number: Option<u32>,
    rules: Vec<&'a Rule>,
    loose: Vec<&'a LooseRule>,
    slow: Option<&'a SlowService>,
    full: Vec<&'a Full>,
    deployed: &'a [Deployed],
    score: f64,
}

impl<'a> Against<'a> {
    /// The kinds of evidence and their scores. Of one kind the strongest counts: several differences in the same calls are one.
    fn scores(&self) -> [(f64, CauseClass); 3] {
        let of_change = |gone: bool| {
            let rules = self.rules.iter().filter(|rule| (rule.change == super::errors::Change::Gone) == gone);
            rules.map(|rule| rule.score()).fold(0.0, f64::max)
        };
        let loose = self.loose.iter().map(|rule| rule.score()).fold(0.0, f64::max);
        let (new, gone) = (of_change(false).max(loose), of_change(true));
        let errors = match new >= gone * 0.5 {
            true => (new.max(gone), CauseClass::Errors),
            false => (gone, CauseClass::MissingWork),
        };
        [
            errors,
            (self.slow.map_or(0.0, |slow| slow.score), CauseClass::SlowItself),
            (self.full.iter().map(|full| full.score()).fold(0.0, f64::max), CauseClass::Saturation),
        ]
    }

    /// What the suspicion is about: what the cause is known by, else what else spans show.
    fn subject(&self, cause: CauseClass) -> Subject<'a> {
        let rules = self.rules.iter().copied().filter(|rule| rule.score() >= SCORE_MIN);
        let is_new = |rule: &Rule| rule.change == super::errors::Change::New;
        let is_of = |rule: &Rule| is_new(rule) == (cause == CauseClass::Errors);
        let strongest = rules.max_by(|a, b| {
            let by_score = a.score().total_cmp(&b.score()).then(b.feature.cmp(&a.feature));
            is_of(a).cmp(&is_of(b)).then(by_score)
        });
        let rule = strongest.map(Subject::Rule);
        let slow = self.slow.filter(|slow| slow.score >= SCORE_MIN).and_then(|slow| slow.places.first());
        let slow = slow.map(Subject::Slow);
        let subject = match cause {
            CauseClass::Errors | CauseClass::MissingWork => rule.or(slow),
            _ => slow.or(rule),
        };
        subject.unwrap_or(Subject::Other)
    }
}

impl Found<'_> {
    /// The suspects, the likeliest first, and what does not illustrate the first of them.
    pub(super) fn suspects(&self, limit: usize) -> Result<(Vec<Suspect>, Vec<Lack>), Error> {
        let mut all: Vec<Against<'_>> = self.by_service().into_values().collect();
        for against in &mut all {
            let own = any_of(against.scores().iter().map(|(score, _)| *score));
            // A new version is no fault by itself, and makes what is one likelier.
            let deployed = if against.deployed.is_empty() { 0.0 } else { DEPLOYMENT_WEIGHT * own };
            against.score = any_of([own, deployed].into_iter());
        }
        all.retain(|against| against.score >= SCORE_MIN);
        all.sort_by(|a, b| b.score.total_cmp(&a.score).then_with(|| a.service.cmp(&b.service)));
        all.truncate(limit);
        let words = Words::new(self)?;
        let services: Vec<&str> = all.iter().map(|against| against.service.as_str()).collect();
        let usages = usage::find(self.snapshot, &services, self.window, self.baseline)?;
        let mut lacks = Vec::new();
        if let Some(first) = services.first().filter(|_| usages.is_cut) {
            let reason = format!("more than {} points of a window: others were not read", usage::POINTS_MAX);
            lacks.push(Lack { kind: EvidenceKind::ResourceUse, service: (*first).to_owned(), reason });
        }
        let suspects: Result<Vec<Suspect>, Error> = (1..)
            .zip(&all)
            .map(|(rank, against)| self.suspect(rank, against, &words, &usages, &mut lacks))
            .collect();
        let first = services.get(..LACKS_SUSPECTS.min(services.len())).unwrap_or_default();
        lacks.retain(|lack| first.contains(&lack.service.as_str()));
        Ok((suspects?, lacks))
    }

    fn by_service(&self) -> BTreeMap<String, Against<'_>> {
        let mut services: BTreeMap<String, Against<'_>> = BTreeMap::new();
        let name = |number: u32| self.vocabulary.texts.name(number).to_owned();
        for rule in &self.rules {
            let number = self.vocabulary.service_of(rule.operation);
            against(&mut services, name(number), Some(number)).rules.push(rule);
        }
        for rule in &self.loose {
            against(&mut services, name(rule.service), Some(rule.service)).loose.push(rule);
        }
        for (number, slow) in &self.slow {
            against(&mut services, name(*number), Some(*number)).slow = Some(slow);
        }
        for full in self.full {
            against(&mut services, full.service.clone(), None).full.push(full);
        }
        for (number, deployed) in &self.deployed {
            against(&mut services, name(*number), Some(*number)).deployed = deployed;
        }
        services
    }

    fn suspect(
        &self,
        rank: usize,
        against: &Against<'_>,
        words: &Words<'_>,
        usages: &Usages,
        lacks: &mut Vec<Lack>,
    ) -> Result<Suspect, Error> {
        let strongest = against.scores().into_iter().max_by(|a, b| a.0.total_cmp(&b.0));
        let cause = match strongest {
            Some((_, CauseClass::SlowItself)) => self.kind_of_slowness(against),
            Some((_, cause)) => cause,
            None => CauseClass::Errors,
        };
        let mut evidence = self.evidence(against, cause, words);
        let (instance, operation) = self.place(against, cause);
        evidence.extend(words.illustrate(against.subject(cause), &against.service, lacks)?);
        let used = usages.by_service.get(&against.service).into_iter().flatten();
        evidence.extend(used.take(USAGES_MAX).map(|usage| words.usage(&against.service, usage)));
        evidence.truncate(EVIDENCE_MAX);
        let sentence = sentence(against, cause, instance.as_deref(), operation.as_deref(), &evidence);
        Ok(Suspect {
            rank,
            service: against.service.clone(),
            instance,
            operation,
            cause,
            score: round(against.score),
            sentence,
            evidence,
        })
    }

    fn evidence(&self, against: &Against<'_>, cause: CauseClass, words: &Words<'_>) -> Vec<Evidence> {
        let mut evidence: Vec<Evidence> = Vec::new();
        let mut seen = BTreeSet::new();
        let mut rules = against.rules.clone();
        rules.retain(|rule| rule.score() >= SCORE_MIN);
        rules.sort_by(|a, b| b.score().total_cmp(&a.score()).then(a.feature.cmp(&b.feature)));
        // The same line at several operations is one event.
        rules.retain(|rule| seen.insert((rule.feature, rule.change == super::errors::Change::New)));
        // Of what is equally sure, that first by which the cause is known. Words are found for what is shown alone: lines are read for
        // them.
        let is_other_rule = |rule: &Rule| {
            let feature = self.vocabulary.features.get(rule.feature);
            !kind_of(feature, rule.change == super::errors::Change::New).is_of(cause)
        };
        rules.sort_by(|a, b| {
            round(b.score())
                .total_cmp(&round(a.score()))
                .then_with(|| is_other_rule(a).cmp(&is_other_rule(b)))
        });
        rules.truncate(SHOWN_MAX);
        evidence.extend(rules.into_iter().map(|rule| words.rule(rule)));
        evidence.extend(
            against.loose.iter().filter(|rule| rule.score() >= SCORE_MIN).map(|rule| words.loose(rule)),
        );
        if let Some(slow) = against.slow.filter(|slow| slow.score >= SCORE_MIN) {
            let places = slow.places.iter().filter(|place| place.score() >= SCORE_MIN * slow.score);
            evidence.extend(places.take(3).map(|place| words.slow(place)));
        }
        evidence.extend(
            against.full.iter().filter(|full| full.score() >= SCORE_MIN).map(|full| words.full(full)),
        );
        let is_other = |evidence: &Evidence| !evidence.kind.is_of(cause);
        evidence.sort_by(|a, b| b.score.total_cmp(&a.score).then_with(|| is_other(a).cmp(&is_other(b))));
        evidence.truncate(SHOWN_MAX);
        evidence.extend(
            against.deployed.iter().take(1).map(|deployed| words.deployed(&against.service, deployed)),
        );
        evidence
    }

    /// Whether the service itself is slow, the way to it, or what it calls.
    fn kind_of_slowness(&self, against: &Against<'_>) -> CauseClass {
        let places = against.slow.map(|slow| slow.places.as_slice()).unwrap_or_default();
        let mut sums: BTreeMap<CauseClass, f64> = BTreeMap::new();
        for place in places {
            let class = match self.vocabulary.spenders.get(place.spender) {
                Some(Spender::Way { .. }) => CauseClass::SlowToReach,
                _ if is_unanswered_call(place, &self.now.side, self.vocabulary) => CauseClass::SlowDependency,
                _ => CauseClass::SlowItself,
            };
            *sums.entry(class).or_default() += place.added_ns * place.confidence;
        }
        let most = sums.into_iter().max_by(|a, b| a.1.total_cmp(&b.1).then(b.0.cmp(&a.0)));
        most.map_or(CauseClass::SlowItself, |(class, _)| class)
    }

    /// The instance and the operation that stand out.
    fn place(&self, against: &Against<'_>, cause: CauseClass) -> (Option<String>, Option<String>) {
        let rule = against
            .rules
            .iter()
            .max_by(|a, b| a.score().total_cmp(&b.score()).then(b.feature.cmp(&a.feature)));
        let slow = against.slow.and_then(|slow| slow.places.first());
        let (spans, operation): (&[u32], Option<String>) = match cause {
            CauseClass::Errors | CauseClass::MissingWork => match rule {
                Some(rule) => (&rule.spans, Some(self.vocabulary.operation(rule.operation))),
                None => (&[], None),
            },
            CauseClass::Saturation => {
                let full = against.full.first().and_then(|full| full.instance.clone());
                return (full.or_else(|| self.only_instance(against)), None);
            }
            _ => match slow {
                Some(slow) => (&slow.spans, self.operation_of(slow.spender, &slow.spans)),
                None => (&[], None),
            },
        };
        (self.standing_out(against, spans).or_else(|| self.only_instance(against)), operation)
    }

    /// The operation that a place is about: its own, or the one that is called most there.
    fn operation_of(&self, spender: u32, spans: &[u32]) -> Option<String> {
        match self.vocabulary.spenders.get(spender)? {
            Spender::Own { name, .. } => Some(self.vocabulary.texts.name(*name).to_owned()),
            Spender::Way { .. } => {
                let mut counts: BTreeMap<u32, f64> = BTreeMap::new();
                let children = spans.iter().flat_map(|at| self.now.side.children(*at));
                for child in children.filter_map(|child| self.now.side.span(*child)) {
                    *counts.entry(child.operation).or_default() += self.now.side.weight(child).share;
                }
                let most = counts.into_iter().max_by(|a, b| a.1.total_cmp(&b.1).then(b.0.cmp(&a.0)));
                most.map(|(operation, _)| self.vocabulary.operation(operation))
            }
        }
    }

    /// The instance of a service of which more of its calls are among these than of any other, if it has several.
    fn standing_out(&self, against: &Against<'_>, spans: &[u32]) -> Option<String> {
        let instances = self.instances(against);
        let mut affected: HashMap<&str, f64> = HashMap::new();
        for at in spans {
            let own = self.now.side.span(*at)?;
            // Of a call on its way it is the one that is called whose instance matters.
            let called = self.now.side.children(*at).iter().filter_map(|child| self.now.side.span(*child));
            let of_service =
                std::iter::once(own).chain(called).find(|span| Some(span.row.service) == against.number);
            if let Some(instance) = of_service.and_then(|span| instances.of_resource.get(&span.row.resource))
            {
                *affected.entry(instance.as_str()).or_default() += self.now.side.weight(own).share;
            }
        }
        let rate = |instance: &str, hits: f64| hits / instances.calls.get(instance).copied().unwrap_or(1.0);
        let best = affected.into_iter().max_by(|a, b| {
            rate(a.0, a.1).total_cmp(&rate(b.0, b.1)).then(a.1.total_cmp(&b.1)).then(b.0.cmp(a.0))
        });
        best.map(|(instance, _)| instance.to_owned())
    }

    fn only_instance(&self, against: &Against<'_>) -> Option<String> {
        let mut calls = self.instances(against).calls.into_keys();
        calls.next().filter(|_| calls.next().is_none())
    }

    fn instances(&self, against: &Against<'_>) -> Instances {
        let mut found = Instances::default();
        for span in self.now.side.spans.iter().filter(|span| Some(span.row.service) == against.number) {
            let resource = span.row.resource;
            let name = found.of_resource.entry(resource).or_insert_with(|| {
                let of: Map<String, Json> =
                    serde_json::from_str(self.vocabulary.resources.name(resource)).unwrap_or_default();
                instance(&of).unwrap_or_default()
            });
            if !name.is_empty() {
                *found.calls.entry(name.clone()).or_default() += self.now.side.weight(span).share;
            }
        }
        found.of_resource.retain(|_, name| !name.is_empty());
        found
    }
}

/// The instances of a service: by resource, and the spans of each as much as they count.
#[derive(Default)]
struct Instances {
    of_resource: HashMap<u32, String>,
    calls: BTreeMap<String, f64>,
}

fn against<'m, 'a>(
    services: &'m mut BTreeMap<String, Against<'a>>,
    name: String,
    number: Option<u32>,
) -> &'m mut Against<'a> {
    let entry = services.entry(name.clone()).or_insert_with(|| Against {
        service: name,
        number: None,
        rules: Vec::new(),
        loose: Vec::new(),
        slow: None,
        full: Vec::new(),
        deployed: &[],
        score: 0.0,
    });
    entry.number = entry.number.or(number);
    entry
}

fn sentence(
    against: &Against<'_>,
    cause: CauseClass,
    instance: Option<&str>,
    operation: Option<&str>,
    evidence: &[Evidence],
) -> String {
    let of = instance.map_or_else(String::new, |instance| format!(" ({instance})"));
    let at = operation.map_or_else(String::new, |operation| format!(" at {operation}"));
    let strongest = evidence.iter().find(|evidence| evidence.kind.is_of(cause)).or_else(|| evidence.first());
    let because = strongest.map_or_else(String::new, |evidence| format!(": {}", evidence.sentence));
    format!("{}{of}{at}: {}{because}", against.service, cause.name())
}

impl EvidenceKind {
    /// Whether it is what a cause of this kind is known by.
    fn is_of(self, cause: CauseClass) -> bool {
        use EvidenceKind as Kind;
        match cause {
            CauseClass::Errors => matches!(self, Kind::NewError | Kind::LooseErrors),
            CauseClass::MissingWork => matches!(self, Kind::VanishedLine | Kind::MissingCall),
            CauseClass::SlowItself | CauseClass::SlowDependency => self == Kind::OwnTime,
            CauseClass::SlowToReach => self == Kind::TimeOnTheWay,
            CauseClass::Saturation => self == Kind::Saturation,
        }
    }
}

/// What a feature is called in a sentence.
pub(super) fn kind_of(feature: Option<&Feature>, is_new: bool) -> EvidenceKind {
    match (feature, is_new) {
        (_, true) => EvidenceKind::NewError,
        (Some(Feature::Call(_)), false) => EvidenceKind::MissingCall,
        (_, false) => EvidenceKind::VanishedLine,
    }
}
