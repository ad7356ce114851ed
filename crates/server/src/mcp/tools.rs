//! The tools: name, parameters, which question they ask, and how its answer reads.

use rmcp::model::ToolAnnotations;
use serde_json::{Map, Value as Json, json};
use throughline_store::{Clock as _, SystemClock};

use super::answers;
use super::ask::{Question, Server};
use super::bounded::{Bounded, TOKENS_BOUNDS, TOKENS_DEFAULT};
use crate::client::{Answer, segment};

type JsonObject = Map<String, Json>;

/// The window of a question that names none.
const LAST_DEFAULT: &str = "1h";
/// Points of a curve.
const POINTS: i64 = 60;
const NS_PER_SECOND: i64 = 1_000_000_000;

/// A tool.
pub(super) struct Tool {
    pub name: &'static str,
    description: &'static str,
    parameters: &'static [Parameter],
    /// The route without which there is no such tool; nothing where it has always been there.
    needs: Option<&'static str>,
    ask: fn(&Arguments) -> Result<Question, String>,
    show: fn(&Json, &mut Bounded) -> Result<(), String>,
}

struct Parameter {
    name: &'static str,
    what: &'static str,
    is_required: bool,
}

const fn parameter(name: &'static str, what: &'static str) -> Parameter {
    Parameter { name, what, is_required: false }
}

const SERVICE: Parameter = parameter("service", "only this service");
const LAST: Parameter = parameter("last", "how far back: 15m, 1h (default), 7d");
const START: Parameter = parameter("start", "instead of last: from, RFC 3339 or -2h");
const END: Parameter = parameter("end", "until, RFC 3339 or -1h; now by default");
const LIMIT: Parameter = parameter("limit", "at most so many");

/// All tools whose question this server's API knows, in the order in which they are listed.
pub(super) fn all() -> impl Iterator<Item = &'static Tool> {
    let is_known = |path: &str| throughline_api::ROUTES.iter().any(|(known, ..)| *known == path);
    TOOLS.iter().filter(move |tool| tool.needs.is_none_or(is_known))
}

static TOOLS: [Tool; 11] = [
    Tool {
        name: "investigate",
        description: "Who is the cause: suspects with evidence from metrics, traces and logs of a window against a baseline, and \
                      what was not checked",
        parameters: &[
            parameter(
                "focus",
                "alert:NAME, trace:ID, log:SERVICE@TIME, a PromQL expression, or nothing for the window alone",
            ),
            parameter("start", "from, RFC 3339 or -15m; chosen by the focus where absent"),
            parameter("end", "until"),
            parameter("baseline_start", "when all was well: from; chosen where absent"),
            parameter("baseline_end", "until"),
            parameter("service", "only traces that come by this service"),
            parameter("suspects", "how many to name"),
        ],
        needs: Some("/api/throughline/v1/investigate"),
        ask: investigate,
        show: answers::investigate,
    },
    Tool {
        name: "links",
        description: "References from log records, exemplars, alerts and span links to traces: how many hold, and why the others do not",
        parameters: &[SERVICE, LAST, START, END],
        needs: Some("/api/throughline/v1/links"),
        ask: |given| Ok(given.window(Question::native("/links").with("service", given.text("service")))),
        show: answers::links,
    },
    Tool {
        name: "compare",
        description: "What some traces have in common that others lack: attributes, operations, log patterns, with confidence",
        parameters: &[
            parameter("query", "the selection in TraceQL; or by the conditions that follow"),
            SERVICE,
            parameter("operation", "the span's name"),
            parameter("min_duration", "the span lasted at least so long: 500ms"),
            parameter("max_duration", "the span lasted at most so long"),
            parameter("status", "error or ok"),
            parameter(
                "baseline",
                "the other traces in TraceQL; those of the same service and operation by default",
            ),
            parameter("baseline_start", "the same selection in another window: from"),
            parameter("baseline_end", "until"),
            LAST,
            START,
            END,
        ],
        needs: Some("/api/throughline/v1/compare"),
        ask: |given| {
            let mut question = Question::native("/compare");
            for name in [
                "query",
                "service",
                "operation",
                "min_duration",
                "max_duration",
                "status",
                "baseline",
                "baseline_start",
                "baseline_end",
            ] {
                question = question.with(name, given.text(name));
            }
            Ok(given.window(question))
        },
        show: answers::compare,
    },
    Tool {
        name: "services",
        description: "The services that sent anything: spans, errors, log records, series, operations",
        parameters: &[LAST, START, END],
        needs: None,
        ask: |given| Ok(given.window(Question::native("/services"))),
        show: answers::services,
    },
    Tool {
        name: "walk",
        description: "From the clearest latency spike of a window to exemplar, trace, culprit span, log lines and likely cause",
        parameters: &[
            SERVICE,
            parameter("metric", "only this metric"),
            parameter("quantile", "which quantile, 0.99 by default"),
            LAST,
            START,
            END,
        ],
        needs: None,
        ask: |given| {
            let question = Question::native("/walk").with("service", given.text("service"));
            let question =
                question.with("metric", given.text("metric")).with("quantile", given.text("quantile"));
            Ok(given.window(question))
        },
        show: answers::walk,
    },
    Tool {
        name: "doctor",
        description: "What is wrong with the telemetry itself (lost, sampled, malformed, unlinked), why, and the fix for each",
        parameters: &[SERVICE, LAST, START, END],
        needs: None,
        ask: |given| Ok(given.window(Question::native("/doctor").with("service", given.text("service")))),
        show: answers::doctor,
    },
    Tool {
        name: "reconcile",
        description: "Requests and errors of a service by metric, by span and by log, and where the differences come from",
        parameters: &[Parameter { is_required: true, ..SERVICE }, LAST, START, END],
        needs: None,
        ask: |given| Ok(given.window(Question::native("/reconcile").with("service", given.text("service")))),
        show: answers::reconcile,
    },
    Tool {
        name: "traces",
        description: "Find traces by a span of theirs: service, operation, duration, status; newest first",
        parameters: &[
            SERVICE,
            parameter("operation", "the span's name"),
            parameter("min_duration", "the span lasted at least so long: 500ms"),
            parameter("status", "error or ok"),
            LIMIT,
            LAST,
            START,
            END,
        ],
        needs: None,
        ask: |given| {
            let mut question = Question::native("/traces");
            for name in ["service", "operation", "min_duration", "status", "limit"] {
                question = question.with(name, given.text(name));
            }
            Ok(given.window(question))
        },
        show: answers::traces,
    },
    Tool {
        name: "trace",
        description: "A trace by its id in any form: the tree of spans with self times and the critical path, errors, log lines; \
                      of a trace that is not here, why not",
        parameters: &[Parameter { name: "id", what: "the trace's id", is_required: true }],
        needs: None,
        ask: |given| {
            Ok(Question::native(&format!("/traces/{}", segment(&given.text("id").unwrap_or_default()))))
        },
        show: answers::trace,
    },
    Tool {
        name: "logs",
        description: "Log records, newest first, or those of one trace or span",
        parameters: &[
            parameter("trace", "those of this trace"),
            parameter("span", "those of this span of the trace"),
            SERVICE,
            parameter("severity", "at least: trace, debug, info, warn, error, fatal"),
            parameter("contains", "the body contains this text"),
            LIMIT,
            LAST,
            START,
            END,
        ],
        needs: None,
        ask: |given| {
            let mut question = Question::native("/logs");
            for name in ["trace", "span", "service", "severity", "contains", "limit"] {
                question = question.with(name, given.text(name));
            }
            // A trace lies where it lies: only a window that was asked for bounds it.
            let is_bounded = ["last", "start", "end"].iter().any(|name| given.text(name).is_some());
            Ok(if given.text("trace").is_some() && !is_bounded { question } else { given.window(question) })
        },
        show: answers::logs,
    },
    Tool {
        name: "metrics",
        description: "A PromQL expression over a window, each series with its curve; without a query the names of the metrics",
        parameters: &[
            parameter("query", "PromQL, such as sum by (service) (rate(traces_spanmetrics_calls_total[5m]))"),
            parameter("contains", "without a query: only names that contain this"),
            LAST,
            START,
            END,
        ],
        needs: None,
        ask: metrics,
        show: answers::metrics,
    },
];

fn investigate(given: &Arguments) -> Result<Question, String> {
    let mut body = JsonObject::new();
    for name in ["focus", "service"] {
        body.extend(given.text(name).map(|text| (name.to_owned(), Json::from(text))));
    }
    if let Some(text) = given.text("suspects") {
        let suspects: usize = text.parse().map_err(|_| format!("suspects={text} is not a whole number"))?;
        body.insert("suspects".to_owned(), Json::from(suspects));
    }
    for (name, start, end) in [("window", "start", "end"), ("baseline", "baseline_start", "baseline_end")] {
        match (given.text(start), given.text(end)) {
            (None, None) => {}
            (Some(from), until) => {
                // A baseline that is told no end lasts until what is wrong begins.
                let begins = given.text("start").filter(|_| name == "baseline");
                let until = until.or(begins).unwrap_or_else(|| "now".to_owned());
                body.insert(name.to_owned(), json!({"start": from, "end": until}));
            }
            (None, Some(_)) => return Err(format!("{end} needs {start}")),
        }
    }
    Ok(Question { body: Some(Json::Object(body)), ..Question::native("/investigate") })
}

fn metrics(given: &Arguments) -> Result<Question, String> {
    let now = SystemClock::new().now();
    let time = |name: &str| match given.text(name) {
        Some(text) => throughline_api::params::parse_time(&text, now)
            .map(Some)
            .ok_or_else(|| format!("{name}={text:?} is not a time: write RFC 3339 or -1h")),
        None => Ok(None),
    };
    let last = given.text("last").unwrap_or_else(|| LAST_DEFAULT.to_owned());
    let length = throughline_correlate::units::parse_duration(&last)
        .ok_or_else(|| format!("last={last:?} is not a duration: write 15m, 1h or 7d"))?;
    let end = time("end")?.unwrap_or(now);
    let start = time("start")?.unwrap_or(end.saturating_sub(length));
    let seconds = |ns: i64| format!("{:.3}", ns as f64 / NS_PER_SECOND as f64);
    let window =
        |question: Question| question.with("start", Some(seconds(start))).with("end", Some(seconds(end)));
    let Some(query) = given.text("query") else {
        let contains = given.text("contains").map(|text| {
            let quoted: String =
                text.chars().filter(|c| c.is_alphanumeric() || "_.:-".contains(*c)).collect();
            format!("{{__name__=~\".*{}.*\"}}", quoted.replace('.', "[.]"))
        });
        return Ok(window(Question::at("/api/v1/label/__name__/values").with("match[]", contains)));
    };
    let step = (end.saturating_sub(start) / POINTS).max(NS_PER_SECOND);
    let question = Question::at("/api/v1/query_range");
    Ok(window(question.with("query", Some(query)).with("step", Some(seconds(step)))))
}

/// What a tool was called with.
pub(super) struct Arguments(JsonObject);

impl Arguments {
    /// A value as text; numbers as they are written.
    fn text(&self, name: &str) -> Option<String> {
        match self.0.get(name)? {
            Json::String(text) if text.is_empty() => None,
            Json::String(text) => Some(text.clone()),
            Json::Null => None,
            other => Some(other.to_string()),
        }
    }

    /// The question with `start` and `end`.
    fn window(&self, question: Question) -> Question {
        let last = self.text("last").unwrap_or_else(|| LAST_DEFAULT.to_owned());
        let start = self.text("start").unwrap_or_else(|| format!("-{last}"));
        question.with("start", Some(start)).with("end", self.text("end"))
    }

    fn tokens(&self) -> Result<usize, String> {
        let Some(text) = self.text("max_tokens") else { return Ok(TOKENS_DEFAULT) };
        let (least, most) = TOKENS_BOUNDS;
        let tokens = text.parse::<usize>().ok().filter(|tokens| (least..=most).contains(tokens));
        tokens.ok_or_else(|| format!("max_tokens={text} is not a whole number from {least} to {most}"))
    }
}

impl Tool {
    /// The tool as the protocol lists it.
    pub fn described(&self) -> rmcp::model::Tool {
        let mut properties = JsonObject::new();
        for parameter in self.parameters {
            properties
                .insert(parameter.name.to_owned(), json!({"type": "string", "description": parameter.what}));
        }
        let (least, most) = TOKENS_BOUNDS;
        properties.insert(
            "max_tokens".to_owned(),
            json!({"type": "integer", "minimum": least, "maximum": most, "description": "size of the answer, 2000 by default"}),
        );
        let required: Vec<&str> =
            self.parameters.iter().filter(|parameter| parameter.is_required).map(|p| p.name).collect();
        let schema = JsonObject::from_iter([
            ("type".to_owned(), Json::from("object")),
            ("properties".to_owned(), Json::from(properties)),
            ("required".to_owned(), Json::from(required)),
            ("additionalProperties".to_owned(), Json::from(false)),
        ]);
        rmcp::model::Tool::new(self.name, self.description, schema)
            .with_annotations(ToolAnnotations::new().read_only(true))
    }

    /// Asks and writes the answer. An error is a sentence for whoever called.
    pub async fn call(&self, server: &Server, arguments: JsonObject) -> Result<String, String> {
        let known = |name: &str| name == "max_tokens" || self.parameters.iter().any(|p| p.name == name);
        if let Some(name) = arguments.keys().find(|name| !known(name)) {
            let names: Vec<&str> = self.parameters.iter().map(|parameter| parameter.name).collect();
            return Err(format!(
                "{} takes no {name:?}; it takes {}, max_tokens",
                self.name,
                names.join(", ")
            ));
        }
        let arguments = Arguments(arguments);
        if let Some(missing) =
            self.parameters.iter().find(|p| p.is_required && arguments.text(p.name).is_none())
        {
            return Err(format!("{} needs {}: {}", self.name, missing.name, missing.what));
        }
        let mut answer = Bounded::new(arguments.tokens()?);
        match server.ask((self.ask)(&arguments)?).await? {
            Answer::Found(json) => (self.show)(&json, &mut answer)?,
            Answer::NotFound(json) => answers::not_found(&json, &mut answer),
        }
        Ok(answer.finish())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn question(tool: &str, arguments: Json) -> Result<Question, String> {
        let tool = all().find(|known| known.name == tool).expect("a tool");
        (tool.ask)(&Arguments(arguments.as_object().cloned().expect("an object")))
    }

    #[test]
    fn tools_ask_what_the_commands_ask() {
        let doctor = question("doctor", json!({"service": "cart"})).expect("asked");
        assert_eq!(doctor.path, "/api/throughline/v1/doctor");
        assert_eq!(doctor.parameters, [("service", "cart".to_owned()), ("start", "-1h".to_owned())]);
        let trace = question("trace", json!({"id": "1-5f/x"})).expect("asked");
        assert_eq!(trace.path, "/api/throughline/v1/traces/1-5f%2Fx");
        let logs = question("logs", json!({"trace": "1", "limit": 5})).expect("asked");
        assert_eq!(logs.parameters, [("trace", "1".to_owned()), ("limit", "5".to_owned())], "no window");
        assert!(question("metrics", json!({"query": "up", "last": "soon"})).is_err());
        let metrics = question("metrics", json!({"query": "up", "start": "1790000000", "end": "1790003600"}))
            .expect("asked");
        assert_eq!(metrics.parameters[1], ("step", "60.000".to_owned()));
    }

    #[test]
    fn every_tool_has_a_schema() {
        for tool in all() {
            let schema = tool.described().input_schema;
            assert_eq!(schema["type"], "object", "{}", tool.name);
            let properties = schema["properties"].as_object().expect("properties");
            assert!(properties.contains_key("max_tokens"), "{}", tool.name);
            let required = schema["required"].as_array().expect("a list");
            assert!(required.iter().all(|name| properties.contains_key(name.as_str().unwrap_or_default())));
        }
    }
}
