//! Relabelling: rules that rewrite labels, or say that a target or a sample is not wanted.

use md5::{Digest as _, Md5};
use throughline_exec::AnchoredRegex;
use throughline_wire::prometheus::exposition::is_legacy_label_name;

use crate::labels::LabelSet;

/// What a rule does where its expression matches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Action {
    /// Sets the target label to the replacement.
    #[default]
    Replace,
    /// Drops everything else.
    Keep,
    /// Drops it.
    Drop,
    /// Drops everything whose source labels differ from the target label.
    KeepEqual,
    /// Drops everything whose source labels are equal to the target label.
    DropEqual,
    /// Sets the target label to a hash of the source labels, modulo the modulus.
    HashMod,
    /// Copies labels whose names match to the replacement.
    LabelMap,
    /// Removes labels whose names match.
    LabelDrop,
    /// Removes all others.
    LabelKeep,
    /// Sets the target label to the source labels in lower case.
    Lowercase,
    /// Sets the target label to the source labels in upper case.
    Uppercase,
}

impl Action {
    /// All actions, by the names that configurations use.
    pub const NAMES: [(&'static str, Action); 11] = [
        ("replace", Action::Replace),
        ("keep", Action::Keep),
        ("drop", Action::Drop),
        ("keepequal", Action::KeepEqual),
        ("dropequal", Action::DropEqual),
        ("hashmod", Action::HashMod),
        ("labelmap", Action::LabelMap),
        ("labeldrop", Action::LabelDrop),
        ("labelkeep", Action::LabelKeep),
        ("lowercase", Action::Lowercase),
        ("uppercase", Action::Uppercase),
    ];

    fn name(self) -> &'static str {
        Action::NAMES.iter().find(|(_, action)| *action == self).map_or("", |(name, _)| name)
    }

    fn sets_target(self) -> bool {
        use Action::{DropEqual, HashMod, KeepEqual, Lowercase, Replace, Uppercase};
        matches!(self, Replace | HashMod | Lowercase | Uppercase | KeepEqual | DropEqual)
    }
}

/// A rule as it is written; what is not given has Prometheus' defaults.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RuleText {
    /// What it does.
    pub action: Action,
    /// The labels whose values are joined and matched.
    pub source_labels: Vec<String>,
    /// What stands between them: `;`.
    pub separator: Option<String>,
    /// What is matched: `(.*)`.
    pub regex: Option<String>,
    /// The label that is set.
    pub target_label: Option<String>,
    /// What it is set to: `$1`.
    pub replacement: Option<String>,
    /// Of [`Action::HashMod`].
    pub modulus: Option<u64>,
}

/// A rule that can be applied.
#[derive(Clone, Debug)]
pub struct Rule {
    action: Action,
    source_labels: Vec<String>,
    separator: String,
    regex: AnchoredRegex,
    target_label: String,
    replacement: String,
    modulus: u64,
    /// Names of labels may have letters, digits and underscores only.
    legacy_names: bool,
}

impl Rule {
    /// Checks and compiles a rule.
    pub fn new(text: RuleText, legacy_names: bool) -> Result<Rule, String> {
        check_fields(&text)?;
        let regex =
            AnchoredRegex::new(text.regex.as_deref().unwrap_or("(.*)")).map_err(|error| error.to_string())?;
        let rule = Rule {
            action: text.action,
            source_labels: text.source_labels,
            separator: text.separator.unwrap_or_else(|| ";".to_owned()),
            regex,
            target_label: text.target_label.unwrap_or_default(),
            replacement: text.replacement.unwrap_or_else(|| "$1".to_owned()),
            modulus: text.modulus.unwrap_or(0),
            legacy_names,
        };
        let is_template = rule.action == Action::Replace && rule.target_label.contains('$');
        if rule.action.sets_target() && !is_template && !rule.is_label_name(&rule.target_label) {
            return Err(format!("target_label: {:?} is not a label's name", rule.target_label));
        }
        Ok(rule)
    }

    fn is_label_name(&self, name: &str) -> bool {
        if self.legacy_names { is_legacy_label_name(name) } else { !name.is_empty() }
    }

    /// Applies the rule. False: what has these labels is dropped.
    fn apply(&self, labels: &mut LabelSet<'_>) -> bool {
        match self.action {
            Action::Drop => !self.regex.matches(&self.source(labels)),
            Action::Keep => self.regex.matches(&self.source(labels)),
            Action::DropEqual => labels.get(&self.target_label) != self.source(labels),
            Action::KeepEqual => labels.get(&self.target_label) == self.source(labels),
            _ => {
                self.rewrite(labels);
                true
            }
        }
    }

    fn rewrite(&self, labels: &mut LabelSet<'_>) {
        match self.action {
            Action::LabelDrop => labels.retain(|name| !self.regex.matches(name)),
            Action::LabelKeep => labels.retain(|name| self.regex.matches(name)),
            Action::LabelMap => {
                for (name, value) in labels.to_owned_pairs() {
                    if let Some(mapped) = self.expand(&name, &self.replacement) {
                        labels.set(mapped, value);
                    }
                }
            }
            Action::Lowercase => labels.set(self.target_label.clone(), self.source(labels).to_lowercase()),
            Action::Uppercase => labels.set(self.target_label.clone(), self.source(labels).to_uppercase()),
            Action::HashMod => {
                let digest: [u8; 16] = Md5::digest(self.source(labels).as_bytes()).into();
                // The second half, big-endian, as in Prometheus: shards must agree with those of others.
                let half = u128::from_be_bytes(digest) as u64;
                labels.set(self.target_label.clone(), (half % self.modulus).to_string());
            }
            _ => self.replace(labels),
        }
    }

    fn replace(&self, labels: &mut LabelSet<'_>) {
        let source = self.source(labels);
        let Some(target) = self.expand(&source, &self.target_label) else { return };
        if !self.is_label_name(&target) {
            return;
        }
        let value = self.expand(&source, &self.replacement).unwrap_or_default();
        labels.set(target, value);
    }

    fn source(&self, labels: &LabelSet<'_>) -> String {
        let mut out = String::new();
        for (at, name) in self.source_labels.iter().enumerate() {
            if at > 0 {
                out.push_str(&self.separator);
            }
            out.push_str(labels.get(name));
        }
        out
    }

    /// A template with what the expression found in a text; none where it does not match.
    fn expand(&self, text: &str, template: &str) -> Option<String> {
        self.regex.expand(text, template)
    }
}

/// What an action needs, and what has no meaning for it.
fn check_fields(text: &RuleText) -> Result<(), String> {
    let name = text.action.name();
    if text.action == Action::HashMod && text.modulus.is_none_or(|modulus| modulus == 0) {
        return Err("hashmod needs a modulus above 0".to_owned());
    }
    if text.action.sets_target() && text.target_label.as_deref().unwrap_or_default().is_empty() {
        return Err(format!("{name} needs a target_label"));
    }
    let given = [
        ("source_labels", !text.source_labels.is_empty()),
        ("separator", text.separator.is_some()),
        ("regex", text.regex.is_some()),
        ("modulus", text.modulus.is_some()),
        ("target_label", text.target_label.is_some()),
        ("replacement", text.replacement.is_some()),
    ];
    let allowed: &[&str] = match text.action {
        Action::KeepEqual | Action::DropEqual => &["source_labels", "target_label"],
        Action::LabelDrop | Action::LabelKeep => &["regex"],
        Action::Lowercase | Action::Uppercase => {
            &["source_labels", "target_label", "separator", "regex", "modulus"]
        }
        _ => return Ok(()),
    };
    match given.iter().find(|(field, is_given)| *is_given && !allowed.contains(field)) {
        Some((field, _)) => Err(format!("{field} has no meaning for {name}")),
        None => Ok(()),
    }
}

/// Applies rules in order. False: what has these labels is dropped.
pub fn apply(rules: &[Rule], labels: &mut LabelSet<'_>) -> bool {
    rules.iter().all(|rule| rule.apply(labels))
}

#[cfg(test)]
mod tests;
