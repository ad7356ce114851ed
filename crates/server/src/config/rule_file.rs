//! Rule files: Prometheus' YAML, read strictly. Every problem of a file is told, with its line, group, rule and field.

use std::path::Path;

use throughline_rules::definition::{self, Pairs, rule_place};
use throughline_rules::{GroupDefinition, Problem, RuleDefinition, duration};

use super::tree::{self, Key, Node, Value};

/// A rule file has some kilobytes.
const BYTES_MAX: u64 = 16 << 20;

/// Reads and checks a file.
pub fn load(path: &Path) -> Result<Vec<GroupDefinition>, Vec<Problem>> {
    let failed = |message: String| vec![Problem { line: None, place: String::new(), message }];
    let bytes = std::fs::metadata(path).map_err(|error| failed(format!("read: {error}")))?.len();
    if bytes > BYTES_MAX {
        return Err(failed(format!("{bytes} bytes are more than {BYTES_MAX}")));
    }
    let text = std::fs::read_to_string(path).map_err(|error| failed(format!("read: {error}")))?;
    parse(&text)
}

/// Reads and checks the text of a file.
pub fn parse(text: &str) -> Result<Vec<GroupDefinition>, Vec<Problem>> {
    let is_blank = |line: &str| line.trim().is_empty() || line.trim_start().starts_with('#');
    if text.lines().all(is_blank) {
        return Ok(Vec::new());
    }
    let root =
        tree::parse(text).map_err(|(line, message)| vec![Problem { line, place: String::new(), message }])?;
    let mut reader = Reader { problems: Vec::new() };
    let groups = reader.file(root);
    // What could not even be read would only be complained about a second time.
    if reader.problems.is_empty() {
        reader.problems = definition::validate(&groups);
    }
    if reader.problems.is_empty() { Ok(groups) } else { Err(reader.problems) }
}

struct Reader {
    problems: Vec<Problem>,
}

impl Reader {
    fn refuse(&mut self, line: u64, place: &str, message: String) {
        self.problems.push(Problem { line: Some(line), place: place.to_owned(), message });
    }

    fn file(&mut self, root: Node) -> Vec<GroupDefinition> {
        let mut groups = Vec::new();
        for (key, node) in self.entries(root, "") {
            match key.name.as_str() {
                "groups" => {
                    let items = self.items(node, "field \"groups\"");
                    groups.extend(items.into_iter().map(|item| self.group(item)));
                }
                _ => self.unknown(&key, ""),
            }
        }
        groups
    }

    fn group(&mut self, node: Node) -> GroupDefinition {
        let mut group = GroupDefinition { line: node.line, ..GroupDefinition::default() };
        let entries = self.entries(node, "group");
        if let Some((_, name)) = entries.iter().find(|(key, _)| key.name == "name") {
            group.name = name.value.scalar().unwrap_or_default();
        }
        let place = format!("group {:?}", group.name);
        for (key, node) in entries {
            let field = format!("{place}, field {:?}", key.name);
            match key.name.as_str() {
                "name" => _ = self.text(&node, &field),
                "interval" => group.interval_ms = self.duration(&node, &field),
                "query_offset" => group.query_offset_ms = self.duration(&node, &field),
                "limit" => match node.value {
                    Value::Int(limit) => group.limit = usize::try_from(limit).unwrap_or(0),
                    Value::Null => {}
                    other => self.refuse(
                        node.line,
                        &field,
                        format!("expected a whole number, got {}", other.kind()),
                    ),
                },
                "labels" => group.labels = self.pairs(node, &field),
                "rules" => {
                    let rules = self.items(node, &field).into_iter().enumerate();
                    group.rules = rules.map(|(at, node)| self.rule(node, &group.name, at)).collect();
                }
                _ => self.unknown(&key, &place),
            }
        }
        group
    }

    fn rule(&mut self, node: Node, group: &str, at: usize) -> RuleDefinition {
        let mut rule = RuleDefinition { line: node.line, ..RuleDefinition::default() };
        let entries = self.entries(node, &format!("group {group:?}, rule {}", at + 1));
        let named = |name: &str| entries.iter().find(|(key, _)| key.name == name);
        let name = named("alert").or_else(|| named("record")).and_then(|(_, node)| node.value.scalar());
        let place = rule_place(group, at, &name.unwrap_or_default());
        for (key, node) in entries {
            let field = format!("{place}, field {:?}", key.name);
            match key.name.as_str() {
                "record" => rule.record = self.text(&node, &field),
                "alert" => rule.alert = self.text(&node, &field),
                "expr" => {
                    rule.expr_line = node.line;
                    rule.expr = self.text(&node, &field);
                }
                "for" => rule.hold_ms = self.duration(&node, &field).unwrap_or(0),
                "keep_firing_for" => rule.keep_firing_ms = self.duration(&node, &field).unwrap_or(0),
                "labels" => rule.labels = self.pairs(node, &field),
                "annotations" => rule.annotations = self.pairs(node, &field),
                _ => self.unknown(&key, &place),
            }
        }
        rule
    }

    fn unknown(&mut self, key: &Key, place: &str) {
        self.refuse(key.line, place, format!("field {:?} is not known here", key.name));
    }

    fn entries(&mut self, node: Node, place: &str) -> Vec<(Key, Node)> {
        match node.value {
            Value::Map(entries) => entries,
            Value::Null => Vec::new(),
            other => {
                self.refuse(node.line, place, format!("expected a map, got {}", other.kind()));
                Vec::new()
            }
        }
    }

    fn items(&mut self, node: Node, place: &str) -> Vec<Node> {
        match node.value {
            Value::List(items) => items,
            Value::Null => Vec::new(),
            other => {
                self.refuse(node.line, place, format!("expected a list, got {}", other.kind()));
                Vec::new()
            }
        }
    }

    fn text(&mut self, node: &Node, place: &str) -> String {
        if node.value == Value::Null {
            return String::new();
        }
        node.value.scalar().unwrap_or_else(|| {
            self.refuse(node.line, place, format!("expected text, got {}", node.value.kind()));
            String::new()
        })
    }

    fn duration(&mut self, node: &Node, place: &str) -> Option<i64> {
        if node.value == Value::Null {
            return None;
        }
        let text = self.text(node, place);
        match duration::parse_ms(&text) {
            Ok(ms) => Some(ms),
            Err(message) => {
                self.refuse(node.line, place, message);
                None
            }
        }
    }

    fn pairs(&mut self, node: Node, place: &str) -> Pairs {
        let entries = self.entries(node, place);
        entries.into_iter().map(|(key, node)| (key.name, self.text(&node, place))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(text: &str) -> Vec<String> {
        parse(text).expect_err("refused").iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_file_is_read() {
        let text = "groups:\n- name: g\n  interval: 30s\n  query_offset: 1m\n  limit: 5\n  labels: {team: 1}\n  rules:\n  \
                    - record: a:b\n    expr: sum(up)\n  - alert: Down\n    expr: up == 0\n    for: 5m\n    \
                    keep_firing_for: 1m\n    labels:\n      severity: page\n    annotations:\n      \
                    summary: '{{ $labels.job }}'\n";
        let groups = parse(text).expect("read");
        let group = &groups[0];
        assert_eq!(
            (group.name.as_str(), group.interval_ms, group.query_offset_ms),
            ("g", Some(30_000), Some(60_000))
        );
        assert_eq!((group.limit, group.labels[0].1.as_str()), (5, "1"));
        assert_eq!((group.rules[0].record.as_str(), group.rules[0].line), ("a:b", 8));
        let alert = &group.rules[1];
        assert_eq!((alert.hold_ms, alert.keep_firing_ms, alert.expr_line), (300_000, 60_000, 11));
        assert_eq!(alert.annotations[0], ("summary".to_owned(), "{{ $labels.job }}".to_owned()));
        assert_eq!(parse("# nothing\n"), Ok(Vec::new()));
    }

    #[test]
    fn problems_name_their_place() {
        let text = "groups:\n- name: g\n  intervall: 5s\n  rules:\n  - alert: A\n    exprs: up\n    for: soon\n  - 5\n";
        assert_eq!(
            problems(text),
            [
                "line 3: group \"g\": field \"intervall\" is not known here",
                "line 6: group \"g\", rule 1, \"A\": field \"exprs\" is not known here",
                "line 7: group \"g\", rule 1, \"A\", field \"for\": not a valid duration string: \"soon\"",
                "line 8: group \"g\", rule 2: expected a map, got a number",
            ]
        );
        let text = "groups:\n- name: g\n  rules:\n  - alert: A\n    expr: up ==\n";
        let found = problems(text);
        assert!(
            found[0].starts_with(
                "line 5: group \"g\", rule 1, \"A\", field \"expr\": could not parse expression: "
            ),
            "{found:?}"
        );
        assert!(problems("groups: [}").len() == 1);
        assert!(problems("rules: []")[0].contains("field \"rules\" is not known here"));
    }
}
