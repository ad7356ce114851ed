//! `relabel_configs` and `metric_relabel_configs`.

use throughline_scrape::relabel::{Action, Rule, RuleText};

use crate::config::section::{Problem, Section};
use crate::config::tree::Node;

/// Reads a list of rules.
pub fn read(path: &str, nodes: Vec<Node>, legacy_names: bool, problems: &mut Vec<Problem>) -> Vec<Rule> {
    let mut rules = Vec::new();
    for (index, node) in nodes.into_iter().enumerate() {
        let path = format!("{path}[{index}]");
        let line = node.line;
        let before = problems.len();
        let mut section = Section::new(&path, Some(node), problems);
        let modulus = match section.number("modulus", 0, 0..=u64::MAX) {
            0 => None,
            modulus => Some(modulus),
        };
        let text = RuleText {
            action: action(&mut section),
            source_labels: section.texts("source_labels"),
            separator: section.optional_text("separator"),
            regex: section.optional_text("regex"),
            target_label: section.optional_text("target_label"),
            replacement: section.optional_text("replacement"),
            modulus,
        };
        section.finish();
        if problems.len() > before {
            continue;
        }
        match Rule::new(text, legacy_names) {
            Ok(rule) => rules.push(rule),
            Err(message) => problems.push(Problem { path, line: Some(line), message }),
        }
    }
    rules
}

/// Actions are told apart without regard to case.
fn action(section: &mut Section<'_>) -> Action {
    section.scalar("action", Action::Replace, |text| {
        let found = Action::NAMES.iter().find(|(name, _)| name.eq_ignore_ascii_case(text));
        let names = Action::NAMES.map(|(name, _)| name).join(", ");
        found.map(|(_, action)| *action).ok_or_else(|| format!("{text:?} is not one of {names}"))
    })
}
