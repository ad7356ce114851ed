//! A report of the doctor as SARIF 2.1.0 (OASIS), which code scanning and CI systems read.
//!
//! A finding has no file: its place is the service, as a logical location, and as an artifact `services/NAME` because some
//! readers insist on one.

use serde_json::{Value as Json, json};
use throughline_correlate::doctor::{Finding, Report};

/// The log with one run.
pub fn log(report: &Report) -> Json {
    let rules: Vec<Json> = report
        .checked
        .iter()
        .map(|rule| json!({"id": rule.rule, "name": rule.name, "shortDescription": {"text": rule.what}}))
        .collect();
    let results: Vec<Json> = report.findings.iter().map(|finding| result(report, finding)).collect();
    let notices: Vec<Json> =
        report.partial.iter().map(|text| json!({"level": "warning", "message": {"text": text}})).collect();
    json!({
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{
            "tool": {"driver": {
                "name": "throughline doctor",
                "version": env!("CARGO_PKG_VERSION"),
                "rules": rules,
            }},
            "invocations": [{"executionSuccessful": true, "toolExecutionNotifications": notices}],
            "results": results,
        }],
    })
}

fn result(report: &Report, finding: &Finding) -> Json {
    let index = report.checked.iter().position(|rule| rule.rule == finding.rule);
    let service = if finding.service.is_empty() { "all" } else { &finding.service };
    json!({
        "ruleId": finding.rule,
        "ruleIndex": index,
        "level": finding.level.name(),
        "message": {"text": format!("{}. {}. Fix: {}", finding.message, finding.cause, finding.fix)},
        "locations": [{
            "physicalLocation": {"artifactLocation": {"uri": format!("services/{}", crate::client::segment(service))}},
            "logicalLocations": [{"name": service, "kind": "module"}],
        }],
        "properties": {
            "count": finding.count,
            "total": finding.total,
            "unit": finding.unit,
            "query": finding.query,
            "examples": finding.examples,
        },
    })
}
