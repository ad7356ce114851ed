//! Every rule with text that breaks it and text that does not, and the project itself.

use super::*;

fn rules(findings: &[Finding]) -> Vec<&'static str> {
    findings.iter().map(|finding| finding.rule).collect()
}

fn project(files: &[(&str, &str)]) -> Project {
    Project { texts: files.iter().map(|(path, text)| ((*path).to_owned(), (*text).to_owned())).collect() }
}

#[test]
fn the_project_is_tidy() {
    let findings = check(&Project::read(&root()).expect("the project is readable"));
    let list: String = findings.iter().map(|finding| format!("\n{finding}")).collect();
    assert!(findings.is_empty(), "{} findings:{list}", findings.len());
}

#[test]
fn file_without_header_is_found() {
    assert_eq!(rules(&code::check("crates/a/src/lib.rs", "use std::fmt;\n")), ["header"]);
    assert_eq!(rules(&code::check("crates/a/src/lib.rs", "//! A crate.\nuse std::fmt;\n")), [""; 0]);
}

#[test]
fn long_file_is_found_without_its_tests() {
    let long = format!("//! Long.\n{}", "const A: u8 = 1;\n".repeat(600));
    assert_eq!(rules(&code::check("a.rs", &long)), ["file-lines"]);
    let tested = format!("//! Short.\n#[cfg(test)]\nmod tests {{\n{}}}\n", "fn a() {}\n".repeat(700));
    assert_eq!(rules(&code::check("a.rs", &tested)), [""; 0]);
    assert_eq!(rules(&code::check("crates/a/tests/a.rs", &long)), [""; 0]);
}

#[test]
fn long_function_is_found() {
    let body = "    a();\n".repeat(69);
    let long = format!("//! A.\nfn long() {{\n{body}}}\n");
    let findings = code::check("a.rs", &long);
    assert_eq!(rules(&findings), ["function-lines"]);
    assert!(findings[0].message.contains("`long` has 71 lines"), "{}", findings[0]);
    let fits = long.replacen("    a();\n", "", 1);
    assert_eq!(rules(&code::check("a.rs", &fits)), [""; 0]);
}

#[test]
fn braces_in_literals_and_comments_do_not_count() {
    let text = "//! A.\nfn a<'a>(x: &'a str) -> char {\n    // {\n    let _ = \"{ \\\" {\"; let _ = r#\"{\"{\"#; /* { /* { */ */\n    '{'\n}\nfn b() {}\n";
    let code = source::Source::new(text).code();
    let functions = source::functions(&code);
    assert_eq!(
        functions.iter().map(|f| (f.name.as_str(), f.line, f.lines)).collect::<Vec<_>>(),
        [("a", 2, 5), ("b", 7, 1)]
    );
}

#[test]
fn things_left_behind_are_found_in_code_only() {
    let left =
        "//! A.\n#[test]\n#[ignore]\nfn a() { todo!() }\n// mod old;\n#[should_panic]\nfn b() { dbg!(1); }\n";
    assert_eq!(rules(&code::check("a.rs", left)), ["left-behind"; 5]);
    let text = "//! A. todo! and `mod x;` in words.\nconst A: &str = \"dbg! #[ignore]\";\n";
    assert_eq!(rules(&code::check("a.rs", text)), [""; 0]);
}

#[test]
fn empty_names_are_found() {
    for path in [
        "crates/a/src/utils.rs",
        "crates/common/src/lib.rs",
        "crates/a/src/helper.rs",
        "crates/a/src/b/mod.rs",
    ] {
        assert_eq!(rules(&code::check_path(path)), ["names"], "{path}");
    }
    assert_eq!(rules(&code::check_path("crates/a/src/community.rs")), [""; 0]);
}

const ROOT: &str = "[workspace]\nmembers = [\n    \"crates/model\",\n    # why\n    \"crates/store\",\n    \"crates/generate\",\n]\n";

#[test]
fn dependency_on_a_lower_crate_is_found() {
    let model =
        "[package]\nname = \"throughline-model\"\n[dependencies]\nthroughline-store.workspace = true\n";
    let store = "[package]\nname = \"throughline-store\"\n[dependencies]\nthroughline-model.workspace = true\nanyhow.workspace = true\n[dev-dependencies]\nthroughline-generate.workspace = true\n";
    let generate =
        "[package]\nname = \"throughline-generate\"\n[dependencies]\nthroughline-model.workspace = true\n";
    let files = [
        ("Cargo.toml", ROOT),
        ("crates/model/Cargo.toml", model),
        ("crates/store/Cargo.toml", store),
        ("crates/generate/Cargo.toml", generate),
    ];
    let findings = workspace::check(&project(&files));
    let messages: Vec<&str> = findings.iter().map(|finding| finding.message.as_str()).collect();
    assert_eq!(
        messages,
        [
            "throughline-model depends on throughline-store, which is not above it in the root Cargo.toml",
            "throughline-store uses anyhow: errors of a library are enums with facts",
            "throughline-generate stands apart and depends on throughline-model",
        ]
    );
}

#[test]
fn too_many_locked_packages_are_found() {
    let lock = "[[package]]\n".repeat(301);
    assert_eq!(
        rules(&workspace::check(&project(&[("Cargo.toml", ""), ("Cargo.lock", &lock)]))),
        ["locked-packages"]
    );
}

#[test]
fn large_configuration_is_found() {
    let fields = |count: usize| {
        (0..count).map(|n| format!("    /// A: b.\n    pub f{n}: std::vec::Vec<a::B>,\n")).collect::<String>()
    };
    let large =
        format!("//! A.\npub struct StoreConfig {{\n{}}}\nstruct Other {{\n{}}}\n", fields(13), fields(20));
    let findings = workspace::check(&project(&[("Cargo.toml", ""), ("crates/store/src/lib.rs", &large)]));
    assert_eq!(rules(&findings), ["config-fields"]);
    let many: String = (0..11).map(|n| format!("pub struct S{n}Config {{\n{}}}\n", fields(11))).collect();
    let findings = workspace::check(&project(&[("Cargo.toml", ""), ("crates/server/src/config.rs", &many)]));
    assert_eq!(rules(&findings), ["config-keys"]);
}

#[test]
fn dead_names_in_the_map_are_found() {
    let page = "See `store/src/wal.rs`, `crates/store/src/gone.rs`, `store::Wal`, `store::Gone`, `Wal` and `a -> b`.\n";
    let files = [("ARCHITECTURE.md", page), ("crates/store/src/wal.rs", "//! A.\npub struct Wal;\n")];
    let findings = docs::check(&project(&files));
    let messages: Vec<&str> = findings.iter().map(|finding| finding.message.as_str()).collect();
    assert_eq!(messages, ["`crates/store/src/gone.rs` does not exist", "`store::Gone` does not exist"]);
}

#[test]
fn drawing_of_a_changed_format_is_found_and_blessed() {
    let (old, new) = ("//! A.\nconst MAGIC: &str = \"AB\";\n", "//! B.\nconst MAGIC: &str = \"AC\";\n");
    let page = |hash: &str| format!("# WAL\n<!-- format: crates/store/src/wal.rs fnv {hash} -->\n");
    let fresh = page(&docs::hash(old));
    let check = |page: &str, module: &str| {
        let files =
            [("ARCHITECTURE.md", ""), ("docs/format/wal.md", page), ("crates/store/src/wal.rs", module)];
        let project = project(&files);
        (rules(&docs::check(&project)), docs::blessed(&project))
    };
    assert_eq!(check(&fresh, old), (vec![], vec![]));
    assert_eq!(
        check(&fresh, &old.replace("//! A", "//! Another word")),
        (vec![], vec![]),
        "comments are no format"
    );
    let blessed = vec![("docs/format/wal.md".to_owned(), page(&docs::hash(new)))];
    assert_eq!(check(&fresh, new), (vec!["format-docs"], blessed));
    assert_eq!(check("# No mark\n", old).0, ["format-docs"]);
}

#[test]
fn paths_of_a_machine_are_found() {
    assert_eq!(rules(&words::check("README.md", concat!("cd /ho", "me/me\n"))), ["words"]);
    assert_eq!(rules(&words::check("README.md", concat!("GET /api/ho", "me/1\n"))), [""; 0]);
    assert_eq!(rules(&words::check("README.md", concat!("built in This Ses", "sion\n"))), ["words"]);
}

#[test]
fn allow_list_excuses_and_shrinks() {
    let finding = Finding::new("header", "a.rs", 1, "no header".to_owned());
    let left = excuse(vec![finding.clone()], "# why\nheader a.rs a table\n");
    assert_eq!(left.len(), 1, "more entries than allowed");
    assert!(left[0].message.contains("may only shrink"));
    assert!(excuse(vec![], "header b.rs a table\n")[0].message.contains("not needed"));
    assert_eq!(excuse(vec![finding.clone()], ""), [finding]);
}
