//! Every action, and what is said of rules that make no sense.

use std::borrow::Cow;

use super::*;

fn set(text: &'static str) -> LabelSet<'static> {
    let pairs = text.split(' ').filter(|pair| !pair.is_empty()).map(|pair| {
        let (name, value) = pair.split_once('=').expect("name=value");
        (Cow::Borrowed(name), Cow::Borrowed(value))
    });
    LabelSet::from_pairs(pairs).expect("no name twice")
}

/// A rule as `action source,labels regex target replacement`, `-` where nothing is given.
fn rule(text: &str) -> Result<Rule, String> {
    let mut words = text.split(' ');
    let mut word = || words.next().filter(|word| *word != "-").map(str::to_owned);
    let action = word().expect("an action");
    let action = Action::NAMES.iter().find(|(name, _)| *name == action).expect("an action").1;
    let source_labels: Vec<String> =
        word().map(|names| names.split(',').map(str::to_owned).collect()).unwrap_or_default();
    let (regex, target_label, replacement) = (word(), word(), word());
    let modulus = word().map(|modulus| modulus.parse().expect("a number"));
    let separator = word();
    Rule::new(RuleText { action, source_labels, separator, regex, target_label, replacement, modulus }, false)
}

/// Applies rules; `dropped` where nothing is left of the target or sample.
fn check(labels: &'static str, rules: &[&str], expected: &str) {
    let rules: Vec<Rule> = rules.iter().map(|text| rule(text).expect("a rule")).collect();
    let mut labels = set(labels);
    let kept = apply(&rules, &mut labels);
    let text: Vec<String> = labels.iter().map(|(name, value)| format!("{name}={value}")).collect();
    assert_eq!(if kept { text.join(" ") } else { "dropped".to_owned() }, expected, "{rules:?}");
}

#[test]
fn replace() {
    check("a=foo b=bar", &["replace a f(.*) d ch${1}-ch${1}"], "a=foo b=bar d=choo-choo");
    check("a=foo b=bar", &["replace a,b (.*);(.*) c $2_$1"], "a=foo b=bar c=foo");
    check("a=foo b=bar", &["replace a,b (.*);(.*) c ${2}_$1"], "a=foo b=bar c=bar_foo");
    check("a=foo", &["replace a oo c x"], "a=foo");
    check("a=foo", &["replace a .* a -", "replace a (.*) b $1"], "");
    check("a=foo", &["replace a (f).* a $2"], "");
    check("a=foo b=x", &["replace a (?P<first>.).* ${first}_x 1"], "a=foo b=x f_x=1");
    check("a=foo", &["replace - - env prod"], "a=foo env=prod");
    check("a=foo", &["replace a (.*) b $$1"], "a=foo b=$1");
    check("a=line", &["replace a,none - b - - |"], "a=line b=line|");
}

#[test]
fn keep_and_drop() {
    check("a=foo", &["keep a fo+"], "a=foo");
    check("a=foo", &["keep a o"], "dropped");
    check("a=foo", &["drop a foo|bar"], "dropped");
    check("a=foo", &["drop a bar"], "a=foo");
    check("a=foo", &["keep none .+"], "dropped");
    check("a=1 b=1", &["keepequal a - b"], "a=1 b=1");
    check("a=1 b=2", &["keepequal a - b"], "dropped");
    check("a=1 b=1", &["dropequal a - b"], "dropped");
    check("a=1 b=2", &["dropequal a - b"], "a=1 b=2");
}

#[test]
fn hashes_are_those_of_prometheus() {
    // md5("foo") = acbd18db4cc2f85cedef654fccc4a4d8, of which edef654fccc4a4d8 counts.
    check("a=foo", &["hashmod a - shard - 1000"], "a=foo shard=696");
    check("a=foo", &["hashmod a - shard - 1"], "a=foo shard=0");
}

#[test]
fn labels_by_name() {
    check("__meta_k8s_app=x a=b", &["labelmap - __meta_k8s_(.+)"], "__meta_k8s_app=x a=b app=x");
    check("ab=1 ac=2", &["labelmap - a(.) - x_${1}_y"], "ab=1 ac=2 x_b_y=1 x_c_y=2");
    check("ab=1 ac=2 b=3", &["labeldrop - a."], "b=3");
    check("ab=1 ac=2 b=3", &["labelkeep - a."], "ab=1 ac=2");
}

#[test]
fn case() {
    check("a=FooÄ", &["lowercase a - b"], "a=FooÄ b=fooä");
    check("a=FooÄ", &["uppercase a - a"], "a=FOOÄ");
}

#[test]
fn rules_without_sense_are_refused() {
    let error = |text| rule(text).expect_err(text);
    assert_eq!(error("replace a"), "replace needs a target_label");
    assert_eq!(error("hashmod a - b"), "hashmod needs a modulus above 0");
    assert_eq!(error("labeldrop a b"), "source_labels has no meaning for labeldrop");
    assert_eq!(error("keepequal a x b"), "regex has no meaning for keepequal");
    assert_eq!(error("lowercase a - b c"), "replacement has no meaning for lowercase");
    assert!(error("keep a (").starts_with("invalid regular expression \"(\""));
    let legacy = RuleText { target_label: Some("a.b".to_owned()), ..RuleText::default() };
    assert_eq!(Rule::new(legacy, true).expect_err("a point"), "target_label: \"a.b\" is not a label's name");
}
