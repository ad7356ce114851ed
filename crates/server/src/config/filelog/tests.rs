//! Receivers that are taken, and what is said of those that are not.

use crate::config::{Config, Problem, parse};

fn parsed(receiver: &str) -> Result<Config, Vec<String>> {
    let text = format!("receivers:\n  filelog:\n    include: [/l/*.log]\n{receiver}");
    parse(&text, &|_| None).map_err(|problems| problems.iter().map(Problem::to_string).collect())
}

/// The first problem of a receiver.
fn check(receiver: &str, expected: &str) {
    let problems = parsed(receiver).err().unwrap_or_default();
    let found = problems.first().is_some_and(|problem| problem.starts_with(expected));
    assert!(found, "{receiver}\n{problems:#?}");
}

/// The first problem of one operator on line 5.
fn check_operator(operator: &str, expected: &str) {
    check(
        &format!("    operators:\n    - {operator}\n"),
        &format!("line 5: receivers::filelog::operators[0]{expected}"),
    );
}

fn operator_taken(operator: &str) {
    let problems = parsed(&format!("    operators:\n    - {operator}\n")).err();
    assert_eq!(problems, None, "{operator}");
}

#[test]
#[expect(clippy::too_many_lines, reason = "one receiver with every key")]
fn a_whole_receiver_is_taken() {
    let config = parsed(
        r#"    exclude: [/l/x.log]
    exclude_older_than: 1h
    start_at: beginning
    poll_interval: 100ms
    fingerprint_size: 1KiB
    max_log_size: 2MiB
    max_log_size_behavior: split
    max_concurrent_files: 64
    encoding: utf-16le
    multiline: {line_start_pattern: '^\d+', omit_pattern: true}
    force_flush_period: 0s
    preserve_leading_whitespaces: true
    include_file_name: false
    include_file_path: true
    include_file_owner_name: true
    include_file_record_number: true
    attributes: {a: 'EXPR(env("NONE"))', b: 1}
    resource: {service.name: shop}
    retry_on_failure: {enabled: true, initial_interval: 2s, max_interval: 1m, max_elapsed_time: 0s}
    delete_after_read: true
    compression: auto
    on_truncate: read_new
    operators:
    - type: container
      id: pod
      max_log_size: 512KiB
    - type: router
      id: way
      routes:
      - {output: json, expr: 'body startsWith "{"', attributes: {format: json}}
      - {output: [regex, csv], expr: 'body matches "^\\d"'}
      default: last
    - type: json_parser
      id: json
      if: 'attributes.format == "json"'
      parse_to: body
      on_error: send_quiet
      output: last
      timestamp: {parse_from: body.ts, layout_type: epoch, layout: ms}
      severity: {parse_from: body.level, mapping: {error: [oops, 5xx, {min: 1, max: 3}], info: 200}, overwrite_text: true}
      trace: {trace_id: {parse_from: body.t}}
      scope_name: {parse_from: body.logger}
    - type: regex_parser
      id: regex
      regex: '^(?P<time>\S+ \S+) (?P<sev>[A-Z]+) (?P<msg>.*)$'
      body: attributes.msg
      timestamp: {parse_from: attributes.time, layout: '%Y-%m-%d %H:%M:%S', location: Europe/Berlin}
      output: last
    - {type: csv_parser, id: csv, header: 'a,b'}
    - {type: recombine, combine_field: body, is_first_entry: 'body matches "^[^\\s]"', max_log_size: 1MiB}
    - {type: time_parser, parse_from: attributes.t, layout_type: gotime, layout: 'Jan 2 15:04:05 MST 2006', time_zone_locations: {PDT: America/Los_Angeles}}
    - {type: severity_parser, parse_from: attributes.s, preset: none, mapping: {warn2: w}}
    - {type: trace_parser, span_id: {parse_from: attributes.span}}
    - {type: key_value_parser, delimiter: ':', pair_delimiter: '!'}
    - {type: add, field: attributes.n, value: {nested: [1, x]}}
    - {type: add, field: attributes.m, value: 'EXPR(body + "x")'}
    - {type: move, from: attributes.a, to: 'resource["x.y"]'}
    - {type: copy, from: body, to: attributes.copy}
    - {type: remove, field: attributes.copy}
    - {type: retain, fields: [attributes.a, body.b]}
    - {type: flatten, field: body.x}
    - {type: unquote, field: body}
    - {type: regex_replace, field: body, regex_name: ansi_control_sequences}
    - {type: filter, expr: 'body == ""'}
    - {type: scope_name_parser, parse_from: attributes.logger}
    - {type: noop, id: last}
"#,
    );
    let config = config.expect("taken");
    let receiver = &config.pulled.filelog[0];
    assert_eq!((receiver.id.as_str(), receiver.chain.len(), receiver.flush_after), ("filelog", 22, None));
    assert_eq!(receiver.find.open_max, 64);
    assert!(config.warnings.is_empty(), "{:?}", config.warnings);
}

#[test]
fn what_is_not_there_yet_is_refused_by_its_name() {
    for key in [
        "ordering_criteria",
        "header",
        "initial_buffer_size",
        "acquire_fs_lock",
        "max_batches",
        "polls_to_archive",
    ] {
        check(&format!("    {key}: 1\n"), &format!("line 4: receivers::filelog::{key}: not supported yet"));
    }
    check_operator(
        "type: syslog_parser",
        "::type: the operator syslog_parser is not supported yet; add, container",
    );
    check_operator(
        "type: jsn_parser",
        "::type: unsupported operator type \"jsn_parser\"; did you mean json_parser?",
    );
    check_operator("id: x", "::type: is missing");
    check_operator("{type: json_parser, preserve_to: x}", "::preserve_to: not supported yet");
    check_operator("{type: noop, foo: 1}", ": has invalid keys: foo");
    check_operator("{type: filter, expr: 'true', drop_ratio: 0.5}", "::drop_ratio: below 1 is not supported");
    check_operator(
        "{type: noop, if: 'now() > 1'}",
        "::if: expression \"now() > 1\": the function now is not supported",
    );
    check_operator("{type: container, parse_to: body}", "::parse_to: other than attributes");
    check(
        "    retry_on_failure: {max_elapsed_time: 5m}\n",
        "line 4: receivers::filelog::retry_on_failure::max_elapsed_time: lines",
    );
    let twice = "receivers:\n  filelog/a:\n    include: [/a]\n  file_log/b:\n    include: [/b]\n";
    assert_eq!(parse(twice, &|_| None).expect("taken").pulled.filelog.len(), 2);
}

#[test]
fn what_is_wrong_is_said_with_its_line() {
    for (receiver, expected) in [
        (
            "    start_at: middle\n",
            "line 4: receivers::filelog::start_at: \"middle\" is not one of end, beginning",
        ),
        (
            "    delete_after_read: true\n",
            "line 3: receivers::filelog::delete_after_read: cannot be used with",
        ),
        ("    encoding: klingon\n", "line 4: receivers::filelog::encoding: the encoding \"klingon\""),
        ("    max_log_size: 1TiB\n", "line 3: receivers::filelog::max_log_size: is above"),
        ("    exclude: ['{']\n", "line 3: receivers::filelog::exclude: \"{\" is not a pattern"),
        (
            "    multiline: {line_start_pattern: a, line_end_pattern: b}\n",
            "line 4: receivers::filelog::multiline: only one of",
        ),
        (
            "    multiline: {line_start_pattern: '('}\n",
            "line 4: receivers::filelog::multiline::line_start_pattern: ",
        ),
        (
            "    encoding: big5\n    multiline: {line_start_pattern: 'a'}\n",
            "line 5: receivers::filelog::multiline::line_start_pattern: is supported with",
        ),
        ("    storage: file_storage\n", "line 3: receivers::filelog::storage: references extension"),
        (
            "    attributes: {a: 'EXPR(x)'}\n",
            "line 3: receivers::filelog::attributes: a: expression \"x\": unknown name x",
        ),
    ] {
        check(receiver, expected);
    }
    for (operator, expected) in [
        ("{type: regex_parser, regex: 'x'}", "::regex: no named capture groups"),
        ("{type: regex_parser}", "::regex: is missing"),
        ("{type: move, from: a}", "::to: is missing"),
        ("{type: remove, field: 'a['}", "::field: \"a[\" is not a field"),
        ("{type: add, field: attributes, value: 1}", "::value: attributes can be set to a map only"),
        ("{type: add, field: body}", "::value: is missing"),
        ("{type: retain}", "::fields: names no field"),
        ("{type: csv_parser}", "::header: exactly one of"),
        ("{type: csv_parser, header: a, delimiter: ab}", "::delimiter: \"ab\""),
        ("{type: key_value_parser, delimiter: ' '}", "::delimiter: must be there"),
        ("{type: time_parser, parse_from: a, layout: '%Q'}", "::layout: layout \"%Q\": the directive %Q"),
        ("{type: time_parser, parse_from: a, layout: '%Y', location: Atlantis}", "::location: \"Atlantis\""),
        ("{type: time_parser, parse_from: a, layout_type: epoch, layout: min}", "::layout: \"min\" is not"),
        ("{type: time_parser, layout: '%Y'}", "::parse_from: is missing"),
        (
            "{type: severity_parser, parse_from: a, mapping: {loud: x}}",
            "::mapping: \"loud\" is not a severity",
        ),
        ("{type: severity_parser, parse_from: a, mapping: {info: {min: 1}}}", "::mapping: info: expected"),
        ("{type: recombine, combine_field: body}", ": exactly one of is_first_entry"),
        ("{type: filter}", "::expr: is missing"),
        ("{type: router}", "::routes: there is no route"),
        ("{type: noop, on_error: explode}", "::on_error: \"explode\" is not one of send"),
        ("{type: noop, output: nowhere}", ": output \"nowhere\" is no operator"),
        ("{type: noop, id: a, output: a}", ": its output leads back to it"),
    ] {
        check_operator(operator, expected);
    }
    check(
        "    operators:\n    - {type: noop, id: a}\n    - {type: noop, id: a}\n",
        "line 6: receivers::filelog::operators[1]::id: there is a second",
    );
    operator_taken("{type: key_value_parser}");
    let missing = parse("receivers:\n  filelog:\n", &|_| None).expect_err("refused");
    assert!(missing[0].to_string().contains("include: names no file"), "{missing:?}");
}

#[test]
fn metadata_from_a_path_that_is_not_there_is_warned_of() {
    let config = parsed("    operators:\n    - type: container\n").expect("taken");
    assert!(config.warnings[0].contains("include_file_path"), "{:?}", config.warnings);
    let config = parsed("    operators:\n    - {type: container, add_metadata_from_filepath: false}\n")
        .expect("taken");
    assert!(config.warnings.is_empty(), "{:?}", config.warnings);
}

#[test]
fn checkpoints_may_have_a_folder_of_their_own() {
    let folder = std::env::temp_dir().display().to_string();
    let text = |extension: &str| {
        format!(
            "extensions:\n  file_storage/logs: {extension}\nreceivers:\n  otlp:\n  filelog:\n    include: [/a]\n    storage: \
             file_storage/logs\nservice:\n  extensions: [file_storage/logs]\n  pipelines:\n    logs: {{receivers: [filelog]}}\n"
        )
    };
    let parsed = |text: &str| parse(text, &|_| None).map_err(|problems| problems[0].to_string());
    let config = parsed(&text(&format!("{{directory: {folder}}}"))).expect("taken");
    assert_eq!(config.pulled.filelog[0].storage.as_deref(), Some(std::path::Path::new(&folder)));
    assert!(parsed(&text("{directory: /none/such, create_directory: true}")).is_ok());
    for (extension, expected) in [
        ("{directory: /none/such}", "directory must exist"),
        (
            "{directory: /none/such, create_directory: true, compaction: {on_start: true}}",
            "compaction: not supported yet",
        ),
    ] {
        let problem = parsed(&text(extension)).expect_err("refused");
        assert!(problem.starts_with("line 2: ") && problem.contains(expected), "{problem}");
    }
    let other = parsed("extensions:\n  zpages:\n").expect_err("refused");
    assert!(other.contains("the zpages extension is not supported yet"), "{other}");
    let unknown = parsed("service:\n  extensions: [pprof]\n").expect_err("refused");
    assert!(unknown.contains("references extension \"pprof\" which is not configured"), "{unknown}");
}
