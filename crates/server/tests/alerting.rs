//! Alerting by the real binary: rules over OTLP metrics, a webhook, a real Alertmanager, and `kill -9` between all of it.

#![expect(clippy::disallowed_methods, reason = "a test of real processes has real files and the time of day")]

mod alerting {
    pub mod alertmanager;
    pub mod webhook;
}

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant, SystemTime};

use alerting::alertmanager::Alertmanager;
use alerting::webhook::Webhook;
use serde_json::{Value as Json, json};

const BINARY: &str = env!("CARGO_BIN_EXE_throughline");

/// Everything happens within seconds; a busy machine may take longer.
const PATIENCE: Duration = Duration::from_secs(90);

const RULES: &str = r#"
groups:
- name: shop
  interval: 1s
  labels: {team: storage}
  rules:
  - record: job:broken:sum
    expr: sum by (job) (broken)
  - alert: Broken
    expr: job:broken:sum > 0
    for: 3s
    labels: {severity: page}
    annotations:
      summary: '{{ $labels.job }} is broken ({{ $value }})'
"#;

/// A folder with rules and configuration that is removed with the test.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Folder {
        let path = std::env::temp_dir().join(format!("throughline-alerting-{name}-{}", std::process::id()));
        std::fs::create_dir_all(path.join("rules")).expect("created");
        std::fs::write(path.join("rules/shop.yml"), RULES).expect("written");
        Folder(path)
    }

    /// The configuration with this section `alerting`.
    fn configure(&self, alerting: &str) {
        let text = format!(
            "throughline:\n  retention: {{disk_reserve: 1MiB}}\n  prometheus: {{external_labels: {{zone: z1}}}}\n  rules:\n    files: ['rules/*.yml']\n    \
             external_url: http://shop.example\n    resend_delay: 1s\n  alerting:\n    {alerting}\n"
        );
        std::fs::write(self.0.join("config.yaml"), text).expect("written");
    }

    /// The JSON of the state file, if there is one.
    fn state(&self) -> Option<Json> {
        let text = std::fs::read_to_string(self.0.join("data/rules/state")).ok()?;
        serde_json::from_str(text.split_once('\n')?.1).ok()
    }

    /// The alert in the state file.
    fn alert(&self) -> Option<Json> {
        let state = self.state()?;
        state["groups"][0]["rules"][0]["alerts"].get(0).cloned()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

struct Server {
    child: Child,
    http: String,
    api: String,
}

impl Server {
    fn start(folder: &Folder) -> Server {
        let any = "127.0.0.1:0";
        let mut child = Command::new(BINARY)
            .args(["serve", "--otlp-grpc", any, "--otlp-http", any, "--api", any, "--data-dir"])
            .arg(folder.0.join("data"))
            .arg("--config")
            .arg(folder.0.join("config.yaml"))
            .stderr(Stdio::piped())
            .spawn()
            .expect("started");
        let mut lines = BufReader::new(child.stderr.take().expect("stderr")).lines();
        let ready = loop {
            let line = lines.next().expect("a ready line").expect("a line");
            if line.contains(" ready: ") {
                break line;
            }
        };
        std::thread::spawn(move || lines.for_each(|line| eprintln!("{}", line.unwrap_or_default())));
        let address = |name: &str| {
            let mut words = ready.split(' ').skip_while(move |word| *word != name);
            format!("http://{}", words.nth(1).expect("an address"))
        };
        Server { child, http: address("otlp/http"), api: address("api") }
    }

    /// Sends the gauge that the alert is about.
    fn send(&self, value: f64) {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("after 1970").as_nanos();
        let point = json!({"timeUnixNano": now.to_string(), "asDouble": value});
        let request = json!({"resourceMetrics": [{
            "resource": {"attributes": [{"key": "service.name", "value": {"stringValue": "cart"}}]},
            "scopeMetrics": [{"metrics": [{"name": "broken", "gauge": {"dataPoints": [point]}}]}],
        }]});
        let answer = agent()
            .post(format!("{}/v1/metrics", self.http))
            .header("content-type", "application/json")
            .send(request.to_string())
            .expect("answered");
        assert_eq!(answer.status(), 200);
    }

    /// The data of an answer of the Prometheus API.
    fn ask(&self, path: &str) -> Json {
        let mut answer = agent().get(format!("{}/api/v1/{path}", self.api)).call().expect("answered");
        let text = answer.body_mut().read_to_string().expect("text");
        let json: Json = serde_json::from_str(&text).expect("JSON");
        assert_eq!(json["status"], "success", "{text}");
        json["data"].clone()
    }

    /// `kill -9`.
    fn kill(mut self) {
        self.child.kill().expect("killed");
        self.child.wait().expect("waited for");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn agent() -> ureq::Agent {
    let config = ureq::Agent::config_builder()
        .http_status_as_error(false)
        .proxy(None)
        .timeout_global(Some(Duration::from_secs(10)));
    config.build().into()
}

fn wait_for<T>(what: &str, mut found: impl FnMut() -> Option<T>) -> T {
    let until = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = found() {
            return found;
        }
        assert!(Instant::now() < until, "not within {PATIENCE:?}: {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn wait_for_state(folder: &Folder, state: &str) -> Json {
    wait_for(&format!("an alert that is {state}"), || folder.alert().filter(|alert| alert["state"] == state))
}

#[test]
fn a_webhook_is_told_of_an_alert_and_of_its_end() {
    let folder = Folder::new("webhook");
    // The first request fails and is tried again.
    let webhook = Webhook::start(None, 1);
    folder.configure(&format!("webhooks: [{{url: '{}'}}]", webhook.url()));
    let server = Server::start(&folder);
    server.send(2.0);
    let firing = webhook.next(PATIENCE);
    assert_eq!((&firing["version"], &firing["status"]), (&json!("4"), &json!("firing")));
    assert_eq!(firing["groupLabels"], json!({"alertname": "Broken"}));
    let alert = &firing["alerts"][0];
    let labels =
        json!({"alertname": "Broken", "job": "cart", "severity": "page", "team": "storage", "zone": "z1"});
    assert_eq!(alert["labels"], labels);
    assert_eq!(alert["annotations"]["summary"], "cart is broken (2)");
    let generator = alert["generatorURL"].as_str().expect("a URL");
    assert!(generator.starts_with("http://shop.example/graph?g0.expr=job%3Abroken%3Asum"), "{generator}");
    check_api(&server);
    server.send(0.0);
    let resolved = webhook.next(PATIENCE);
    assert_eq!((&resolved["status"], &resolved["alerts"][0]["labels"]), (&json!("resolved"), &labels));
    assert_eq!(resolved["alerts"][0]["startsAt"], alert["startsAt"]);
    assert!(webhook.try_next(Duration::from_secs(3)).is_none(), "every change is told once");
    assert_eq!(webhook.n_refused(), 1);

    // A file with a mistake changes nothing, and the answer says what is wrong.
    std::fs::write(folder.0.join("rules/shop.yml"), RULES.replace("sum by", "sum buy")).expect("written");
    let mut answer = agent().post(format!("{}/-/reload", server.api)).send_empty().expect("answered");
    let text = answer.body_mut().read_to_string().expect("text");
    assert_eq!(answer.status(), 500);
    assert!(text.contains("rule 1, \"job:broken:sum\", field \"expr\""), "{text}");
    std::fs::write(folder.0.join("rules/shop.yml"), RULES.replace("alert: Broken", "alert: Renamed"))
        .expect("written");
    assert_eq!(
        agent().post(format!("{}/-/reload", server.api)).send_empty().expect("answered").status(),
        200
    );
    server.send(3.0);
    assert_eq!(webhook.next(PATIENCE)["groupLabels"]["alertname"], "Renamed");
}

/// What the API says of the rules while the alert fires.
fn check_api(server: &Server) {
    let group = &server.ask("rules")["groups"][0];
    assert_eq!((&group["name"], &group["interval"]), (&json!("shop"), &json!(1.0)));
    assert_eq!(group["rules"][0]["type"], "recording");
    assert_eq!(group["rules"][0]["health"], "ok");
    let rule = &group["rules"][1];
    assert_eq!((&rule["type"], &rule["duration"]), (&json!("alerting"), &json!(3.0)));
    // The status follows the evaluation that told the webhook.
    let alert = wait_for("an alert that fires in the API", || {
        let alerts = server.ask("alerts");
        alerts["alerts"].get(0).filter(|alert| alert["state"] == "firing").cloned()
    });
    assert_eq!(alert["value"], "2e+00");
    assert_eq!(alert["labels"]["severity"], "page");
    let series = wait_for("a series of the alert", || {
        let found = server.ask("query?query=ALERTS%7Balertstate%3D%22firing%22%7D");
        found["result"].get(0).cloned()
    });
    assert_eq!(series["metric"]["alertname"], "Broken");
    assert_eq!(server.ask("query?query=job:broken:sum")["result"][0]["metric"]["team"], "storage");
}

#[test]
fn an_alert_and_its_notification_survive_kills() {
    let folder = Folder::new("kills");
    let webhook = Webhook::reserve();
    let alertmanager = Alertmanager::find();
    let url = alertmanager.as_ref().map_or("http://127.0.0.1:9".to_owned(), Alertmanager::url);
    folder.configure(&format!(
        "alertmanagers: [{{url: '{url}', timeout: 5s}}]\n    webhooks: [{{url: 'http://{webhook}'}}]"
    ));

    // Killed while it is pending: it goes on pending, since when it was.
    let server = Server::start(&folder);
    server.send(1.0);
    let pending = wait_for_state(&folder, "pending");
    server.kill();
    let server = Server::start(&folder);
    let restored = folder.alert().expect("the alert is still in the file");
    assert_eq!((&restored["state"], &restored["labels"]), (&json!("pending"), &pending["labels"]));

    // Killed while it fires and nobody could be told.
    let firing = wait_for_state(&folder, "firing");
    wait_for("notifications that wait", || {
        let waiting = folder.state()?["waiting"].as_object()?.len();
        (waiting == 2).then_some(())
    });
    server.kill();
    let fired_at_ns = firing["fired_at_ns"].as_i64().expect("a time");

    // The receivers are there, and are told what happened before the crash.
    let webhook = Webhook::start(Some(webhook), 0);
    let running = alertmanager.map(Alertmanager::start);
    let server = Server::start(&folder);
    let told = webhook.next(PATIENCE);
    assert_eq!((&told["status"], &told["alerts"][0]["labels"]["job"]), (&json!("firing"), &json!("cart")));
    let starts_at = told["alerts"][0]["startsAt"].as_str().expect("a time").to_owned();
    assert!(
        starts_at.ends_with(&format!(".{:03}Z", fired_at_ns / 1_000_000 % 1000)),
        "{starts_at} {fired_at_ns}"
    );
    if let Some(alertmanager) = &running {
        let alert = wait_for("an alert in the Alertmanager", || alertmanager.alerts().pop());
        assert_eq!(alert["labels"]["alertname"], "Broken");
        assert_eq!(alert["labels"]["zone"], "z1");
        assert_eq!(alert["status"]["state"], "active");
        assert_eq!(alert["startsAt"], starts_at);
    }

    // It still fires after the restart, and ends when its condition does.
    assert_eq!(wait_for_state(&folder, "firing")["fired_at_ns"], fired_at_ns);
    server.send(0.0);
    let ended =
        wait_for("its end", || Some(webhook.next(PATIENCE)).filter(|told| told["status"] == "resolved"));
    assert_eq!(ended["alerts"][0]["startsAt"], starts_at);
    if let Some(alertmanager) = &running {
        wait_for("no alert in the Alertmanager", || alertmanager.alerts().is_empty().then_some(()));
    }
}

#[test]
fn rule_files_are_checked_as_promtool_does() {
    let folder = Folder::new("check");
    let check = |options: &[&str], file: &Path| {
        let output =
            Command::new(BINARY).args(["check", "rules"]).args(options).arg(file).output().expect("run");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (output.status.code(), text(&output.stdout), text(&output.stderr))
    };
    let good = folder.0.join("rules/shop.yml");
    let (code, out, _) = check(&[], &good);
    assert_eq!((code, out), (Some(0), format!("Checking {}\n  SUCCESS: 2 rules found\n\n", good.display())));
    let bad = folder.0.join("bad.yml");
    std::fs::write(&bad, "groups:\n- name: g\n  rules:\n  - alert: A\n    expr: up ==\n").expect("written");
    let (code, _, errors) = check(&[], &bad);
    assert_eq!(code, Some(1));
    assert!(
        errors.contains("bad.yml: line 5: group \"g\", rule 1, \"A\", field \"expr\": could not parse"),
        "{errors}"
    );
    let twice = folder.0.join("twice.yml");
    let rule = "  - record: a\n    expr: up\n";
    std::fs::write(&twice, format!("groups:\n- name: g\n  rules:\n{rule}{rule}")).expect("written");
    let (code, _, errors) = check(&[], &twice);
    assert_eq!(code, Some(0));
    assert!(errors.contains("1 duplicate rule(s) found.\nMetric: a\n"), "{errors}");
    assert_eq!(check(&["--lint-fatal"], &twice).0, Some(3));
}
