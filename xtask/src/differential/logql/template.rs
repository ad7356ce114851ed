//! Random templates of lines and labels.

use crate::differential::random::Random;

/// What a template may name.
struct Names<'a> {
    texts: &'a [&'a str],
    numbers: &'a [&'a str],
}

/// A template in quotes, over labels with texts and with numbers.
pub fn template(random: &mut Random, texts: &[&str], numbers: &[&str]) -> String {
    let names = Names { texts, numbers };
    let mut out = String::new();
    for _ in 0..=random.below(3) {
        let text = random.pick(&["", " ", "<", "-", "x=", "é"]);
        out.push_str(text);
        out.push_str(&action(random, &names, 2));
    }
    // Backquotes within would end it.
    format!("`{}`", out.replace('`', "'"))
}

fn action(random: &mut Random, names: &Names<'_>, depth: u64) -> String {
    match random.below(16) {
        0..=2 => format!("{{{{.{}}}}}", random.pick(names.texts)),
        3 => format!("{{{{ .{} }}}}", random.pick(names.numbers)),
        4..=8 => format!("{{{{ {} }}}}", text(random, names, depth)),
        9 => format!("{{{{ {} }}}}", number(random, names, depth)),
        10 => format!("{{{{ {} }}}}", pipe(random, names, depth)),
        11 => format!("{{{{ {} }}}}", time(random)),
        12 if depth > 0 => {
            let (yes, no) = (action(random, names, depth - 1), action(random, names, depth - 1));
            let or = random.pick(&["{{else}}", "{{- else -}}", "{{ else if .level }}"]);
            format!("{{{{ if {} }}}}{yes}{or}{no}{{{{end}}}}", condition(random, names, depth - 1))
        }
        13 => random
            .pick(&[
                "{{ range $i, $x := fromJson __line__ }}{{ $i }}:{{ $x }},{{ end }}",
                "{{ with fromJson __line__ }}{{ .msg }}/{{ .req }}{{ end }}",
                "{{ range fromJson .items }}{{ . }};{{ else }}none{{ end }}",
                "{{ with .level }}<{{ . }}>{{ else }}no level{{ end }}",
                "{{ $x := .status }}{{ $x }}{{ $x = 5 }}{{ $x }}",
                "{{/* nothing */}}",
                "{{ (fromJson __line__).level }}",
                "{{ index (fromJson __line__) \"status\" }}",
                "{{ .nowhere.deeper }}",
                "{{ . }}",
                "{{ len __line__ }}",
                "{{ slice .path 0 3 }}",
                "{{ template \"x\" }}",
                "{{ nofunction .level }}",
                "{{ .level",
                "{{ __line__ }}",
                "{{- .level -}}  ",
            ])
            .to_owned(),
        _ => format!("{{{{ printf {} }}}}", formatted(random, names)),
    }
}

fn formatted(random: &mut Random, names: &Names<'_>) -> String {
    let (label, other) = (random.pick(names.texts), random.pick(names.numbers));
    match random.below(14) {
        0 => format!("\"%s-%s\" .{label} .{other}"),
        1 => format!("\"%-12s|\" .{label}"),
        2 => format!("\"%8s|%.3s|\" .{label} .{label}"),
        3 => format!("\"%q\" .{label}"),
        4 => format!("\"%x %X\" .{label} .{other}"),
        5 => format!("\"%d\" (int .{other})"),
        6 => format!(
            "\"%05d|%+d|%x|%b|%o|%c\" (int .{other}) (int .{other}) (int .{other}) (int .{other}) (int .{other}) 65"
        ),
        7 => format!(
            "\"%.2f|%8.1f|%e|%g\" (float64 .{other}) (float64 .{other}) (float64 .{other}) (float64 .{other})"
        ),
        8 => format!("\"%d\" .{label}"),
        9 => format!("\"%v %v %%\" .{label}"),
        10 => format!("\"%T %v\" .{label} (int .{other})"),
        11 => format!("\"%s\" .{label} .{other}"),
        12 => format!("\"%t %v\" true (float64 .{other})"),
        _ => format!("\"%6.2f%%\" (divf .{other} 3)"),
    }
}

fn text(random: &mut Random, names: &Names<'_>, depth: u64) -> String {
    if depth == 0 || random.one_in(4) {
        return match random.below(5) {
            0 => "__line__".to_owned(),
            1 => "\"some Text é\"".to_owned(),
            _ => format!(".{}", random.pick(names.texts)),
        };
    }
    let of = text(random, names, depth - 1);
    let int = random.pick(&["0", "1", "3", "-2", "8", "40"]);
    let function = random.below(36);
    match function {
        0 => format!("lower ({of})"),
        1 => format!("upper ({of})"),
        2 => format!("title ({of})"),
        3 => format!("trunc {int} ({of})"),
        4 => format!("substr {int} {} ({of})", random.pick(&["5", "-1", "2", "100"])),
        5 => format!("trim ({of})"),
        6 => format!("trimAll \"l e\" ({of})"),
        7 => format!("trimPrefix \"/api\" ({of})"),
        8 => format!("trimSuffix \"r\" ({of})"),
        9 => format!("replace \"e\" \"E\" ({of})"),
        10 => format!("repeat {} ({of})", random.pick(&["0", "2", "3"])),
        11 => format!("indent {} ({of})", random.pick(&["0", "2"])),
        12 => format!("nindent 1 ({of})"),
        13 => format!("alignLeft {int} ({of})"),
        14 => format!("alignRight {int} ({of})"),
        15 => format!("b64enc ({of})"),
        16 => format!("b64dec ({of})"),
        17 => format!("urlencode ({of})"),
        18 => format!("urldecode ({of})"),
        19 => format!("regexReplaceAll \"([a-z]+)=(\\\\w+)\" ({of}) \"${{2}}=$1\""),
        20 => format!(
            "regexReplaceAll {} ({of}) \"[$0$1]\"",
            random.pick(&["\"[aeiou]\"", "\"(x)?\"", "\"^\"", "\"(\""])
        ),
        21 => format!("regexReplaceAllLiteral \"[0-9]+\" ({of}) \"$1\""),
        22 => format!("ToLower ({of})"),
        23 => format!("ToUpper ({of})"),
        24 => format!("Replace ({of}) \"a\" \"4\" {}", random.pick(&["1", "-1", "0"])),
        25 => format!("Trim ({of}) \"\\\"e{{\""),
        26 => format!("TrimLeft ({of}) \"le{{\""),
        27 => format!("TrimRight ({of}) \"l}}\""),
        28 => format!("TrimPrefix ({of}) \"level\""),
        29 => format!("TrimSuffix ({of}) \"}}\""),
        30 => format!("TrimSpace ({of})"),
        31 => format!("default \"none\" ({of})"),
        32 => format!("print ({of}) 1 2 \"x\" 3"),
        33 => format!("html ({of})"),
        34 => format!("{} ({of})", random.pick(&["js", "urlquery", "println"])),
        _ => format!("or ({of}) \"x\""),
    }
}

fn number(random: &mut Random, names: &Names<'_>, depth: u64) -> String {
    if depth == 0 || random.one_in(5) {
        return match random.below(6) {
            0 => random.pick(&["3", "-2", "0", "1.5", "10"]).to_owned(),
            1 => format!("int .{}", random.pick(names.numbers)),
            2 => format!("float64 .{}", random.pick(names.numbers)),
            _ => format!(".{}", random.pick(names.numbers)),
        };
    }
    let (a, b) = (number(random, names, depth - 1), number(random, names, depth - 1));
    let label = random.pick(names.texts);
    match random.below(13) {
        0..=4 => {
            let function = random.pick(&[
                "add", "sub", "mul", "div", "mod", "addf", "subf", "mulf", "divf", "max", "min", "maxf",
                "minf",
            ]);
            format!("{function} ({a}) ({b})")
        }
        5 => format!("ceil ({a})"),
        6 => format!("floor ({a})"),
        7 => format!("round ({a}) {}", random.pick(&["0", "2", "1"])),
        8 => format!("count \"[a-e]\" .{label}"),
        9 => format!("bytes {}", random.pick(&[".size", "\"1KB\"", "\"x\"", ".sent", "\"2.5 MiB\""])),
        10 => format!(
            "{} {}",
            random.pick(&["duration", "duration_seconds"]),
            random.pick(&[".took", "\"1m30s\"", "\"x\"", ".latency"])
        ),
        11 => format!("add ({a}) ({b}) 7"),
        _ => format!("len .{label}"),
    }
}

fn condition(random: &mut Random, names: &Names<'_>, depth: u64) -> String {
    let (label, other) = (random.pick(names.texts), random.pick(names.numbers));
    match random.below(11) {
        0 => format!(".{label}"),
        1 => format!("eq .{label} \"info\" \"GET\""),
        2 => format!("ne .{label} \"error\""),
        3 => format!("contains \"e\" .{label}"),
        4 => format!("hasPrefix \"/api\" .{label}"),
        5 => format!("hasSuffix \"r\" (lower .{label})"),
        6 => format!("gt (int .{other}) 300"),
        7 => format!("le (float64 .{other}) 0.5"),
        8 => format!("lt .{label} .{other}"),
        9 if depth > 0 => {
            let (a, b) = (condition(random, names, depth - 1), condition(random, names, depth - 1));
            format!("{} ({a}) ({b})", random.pick(&["and", "or"]))
        }
        _ => format!("not .{label}"),
    }
}

fn pipe(random: &mut Random, names: &Names<'_>, depth: u64) -> String {
    let mut out = text(random, names, depth.saturating_sub(1));
    for _ in 0..=random.below(2) {
        out.push_str(" | ");
        out.push_str(random.pick(&[
            "lower",
            "upper",
            "title",
            "trunc 4",
            "trim",
            "replace \"a\" \"b\"",
            "default \"d\"",
            "urlencode",
            "b64enc",
            "printf \"<%s>\"",
            "printf \"%q\"",
            "len",
            "int",
            "float64",
            "trimAll \"/\"",
            "repeat 2",
            "substr 1 3",
            "toJson",
        ]));
    }
    out
}

fn time(random: &mut Random) -> String {
    let layout = random.pick(&[
        "2006-01-02T15:04:05Z07:00",
        "2006-01-02 15:04:05.000",
        "Jan _2 15:04:05.999999999 Mon",
        "03:04PM 06 1/2 -0700 MST",
        "Monday January 002 .00",
    ]);
    match random.below(13) {
        0 => format!("date \"{layout}\" __timestamp__"),
        1 => format!("__timestamp__ | date \"{layout}\""),
        2 => "__timestamp__ | unixEpoch".to_owned(),
        3 => "unixEpochMillis __timestamp__".to_owned(),
        4 => "unixEpochNanos __timestamp__".to_owned(),
        5 => format!(
            "date \"{layout}\" (unixToTime {})",
            random.pick(&["\"1673798889\"", ".epoch", ".millis", "\"19373\"", "\"x\"", "\"123\""])
        ),
        6 => format!(
            "toDate \"2006-01-02\" {} | date \"{layout}\"",
            random.pick(&["\"2026-02-03\"", ".ts", "\"no\"", "\"2026-13-03\""])
        ),
        7 => format!(
            "toDateInZone \"2006-01-02 15:04\" \"{}\" \"2026-02-03 04:05\" | unixEpoch",
            random.pick(&["UTC", ""])
        ),
        8 => "toDate \"2006-01-02T15:04:05.000Z07:00\" .ts | unixEpochNanos".to_owned(),
        9 => "(unixToTime \"1673798889\").Year".to_owned(),
        10 => "__timestamp__.Unix".to_owned(),
        11 => "now | date \"2006\"".to_owned(),
        _ => "__timestamp__".to_owned(),
    }
}
