//! Hostile templates: seeded mutations of real ones are parsed and executed without a panic, within the limits.

use throughline_template::{Functions, Kind, Limits, Template, Value};

const SEEDS: [&str; 12] = [
    "{{ $labels.instance }} of job {{ $labels.job }} has been down for {{ $value | humanize }}",
    "{{range .List}}{{if eq . 2}}{{continue}}{{else if gt . 3}}{{break}}{{end}}{{.}}{{else}}none{{end}}",
    "{{define \"a\"}}<{{.}}{{template \"b\" .}}>{{end}}{{block \"b\" 1}}x{{end}}{{template \"a\" (index .List 0)}}",
    "{{printf \"%-10.3f|%+08d|%[2]*[1]x|%q\" .F .N \"é\" .Name | html | urlquery | js}}",
    "{{with $x := .Labels}}{{range $k, $v := $x}}{{$k}}={{$v}}{{end}}{{else with .At}}{{.Format \"2006\"}}{{end}}",
    "{{- /* note */ -}} a {{- `raw` -}} b {{\"q\\u00e9\\x41\\n\"}} {{'c'}} {{0x1f}} {{1_0.5e-3}} {{-7}}",
    "{{and 1 (or 0 .Empty (not true)) | print nil | len}}{{slice \"abcdef\" 1 3}}{{lt 1 2}}{{ne \"a\" \"b\"}}",
    "{{$x := 1}}{{$x = print $x $x}}{{range $i := 5}}{{$x = print $x $i $.N}}{{end}}{{$x}}",
    "{{(.Any).x}}{{((.List))}}{{.Labels.none.deeper}}{{(index .Labels \"job\")}}{{.At.Year}}",
    "{{list 1 (list 2 (list 3 nil)) .Labels | printf \"%v %#v %+v %T\"}}",
    "{{if}}{{end}}{{else}}{{range}}{{template}}{{$}}{{.}}{{|}}{{:=}}{{(}}{{)}}",
    "%!{{printf \"%\" 1}}{{printf \"%9999999d\" 1}}{{printf \"%.*g\" -1 1.5}}",
];

const PIECES: [&str; 24] = [
    "{{",
    "}}",
    "{{- ",
    " -}}",
    "(",
    ")",
    "|",
    ":=",
    "=",
    "$x",
    "$",
    ".",
    ".N",
    "\"",
    "`",
    "'",
    "%",
    "{{end}}",
    "{{else}}",
    "{{range .List}}",
    "{{if .N}}",
    "nil",
    "9223372036854775808",
    "\u{1F600}",
];

/// A small generator: the same inputs in every run.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 33) as usize) % limit.max(1)
    }
}

fn mutate(random: &mut Random) -> String {
    let mut chars: Vec<char> = SEEDS[random.below(SEEDS.len())].chars().collect();
    for _ in 0..=random.below(6) {
        let at = random.below(chars.len() + 1);
        match random.below(4) {
            0 if at < chars.len() => {
                chars.remove(at);
            }
            1 => {
                let piece: Vec<char> = PIECES[random.below(PIECES.len())].chars().collect();
                chars.splice(at..at, piece);
            }
            2 => {
                let other: Vec<char> = SEEDS[random.below(SEEDS.len())].chars().collect();
                let from = random.below(other.len());
                let until = (from + random.below(20)).min(other.len());
                chars.splice(at..at, other[from..until].to_vec());
            }
            _ => {
                let end = (at + random.below(10)).min(chars.len());
                chars.drain(at..end);
            }
        }
    }
    chars.into_iter().collect()
}

fn data() -> Value {
    Value::record(
        "data",
        [
            ("Name", Value::text("world")),
            ("N", Value::Int(i64::MIN)),
            ("F", Value::Float(f64::NAN)),
            ("Labels", Value::text_map([("job", "cart")])),
            ("List", Value::list((0..5).map(Value::Int).collect())),
            ("Empty", Value::list(vec![])),
            ("Any", Value::map([("x", Value::Nil)])),
            ("At", Value::Time(i64::MAX)),
        ],
    )
}

#[test]
fn mutated_templates_never_panic() {
    let mut functions = Functions::new();
    functions.add("humanize", &[Kind::Any], |values, _| Ok(values[0].clone()));
    functions.add_variadic("list", &[], Kind::Any, |values, _| Ok(Value::list(values.to_vec())));
    let limits = Limits { output_bytes: 10_000, value_bytes: 100_000, steps: 10_000 };
    let data = data();
    let mut random = Random(7);
    let mut executed = 0;
    for _ in 0..60_000 {
        let text = mutate(&mut random);
        let Ok(template) = Template::parse("t", &text, &functions) else { continue };
        if let Ok(output) = template.execute(&data, &functions, &limits) {
            assert!(output.len() <= limits.output_bytes);
            executed += 1;
        }
    }
    assert!(executed > 1000, "only {executed} were executed: the mutations are too wild to be of use");
}
