//! A bad build is the canary, with a twentieth of the load. The alert of `deploy/` sees it, and the
//! commands of its page stop it and mend what it did.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use celeriac::prelude::*;
use celeriac_servers::promtool;
use celeriac_tests::Bed;
use celeriac_tests::probe::page;
use celeriac_tests::wait::PATIENCE;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::time::interval;
use tokio_util::sync::CancellationToken;

use crate::kubelet::{Pod, PodTemplate, overlay, set_up};
use crate::ledger::Ledger;

/// Length of a task, in milliseconds. The one slot of the canary does a twentieth of the load.
const LENGTH: u64 = 250;
const A_SECOND: u64 = 80;

/// Time between two looks at the metrics. To Prometheus it is a minute.
const MINUTE: Duration = Duration::from_millis(300);

/// Minutes with the canary, and after it. The alert looks at ten, and waits for five.
const WITH: usize = 20;
const WITHOUT: usize = 14;

/// The metrics of the alerts.
const METRICS: [&str; 3] =
    ["celeriac_tasks_started_total{", "celeriac_tasks_finished_total{", "celeriac_tasks_retried_total{"];

/// Sleeps, and fails in a bad build.
#[task(name = "test.build")]
async fn build(milliseconds: u64) -> u64;

/// Values of each series, one a minute.
#[derive(Default)]
struct Samples {
    series: BTreeMap<String, Vec<String>>,
    minutes: usize,
}

impl Samples {
    /// Reads the metrics of these pods. A series of others has ended.
    async fn look(&mut self, pods: &[&Pod]) {
        for pod in pods {
            let (_, page) = page(&pod.socket, "/metrics").await.unwrap();
            for line in page.lines() {
                let Some(metric) = METRICS.iter().find(|metric| line.starts_with(*metric)) else { continue };
                let (labels, value) = line[metric.len()..].split_once("} ").unwrap();
                let series = format!("{metric}instance=\"{}\",{labels}}}", pod.name);
                let values = self.series.entry(series).or_default();
                values.resize(self.minutes, "_".to_owned());
                values.push(value.to_owned());
            }
        }
        self.minutes += 1;
        let ended = self.series.values_mut().filter(|values| values.len() < self.minutes);
        ended.for_each(|values| values.resize(self.minutes, "stale".to_owned()));
    }

    /// Returns the sum of the last values of a metric with these labels.
    fn last(&self, metric: &str, labels: &str) -> f64 {
        let known = self.series.iter().filter(|(series, _)| series.starts_with(metric) && series.contains(labels));
        let last = known.filter_map(|(_, values)| values.iter().rev().find_map(|value| value.parse::<f64>().ok()));
        last.sum()
    }

    /// Returns a test for promtool: these alerts about tasks fire after so many minutes.
    fn test(&self, firing: &[(usize, &[Value])]) -> Value {
        let rules = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/alerts/celeriac.rules.yaml");
        let series = self.series.iter().map(|(name, values)| json!({ "series": name, "values": values.join(" ") }));
        let expect = |(minute, alerts): &(usize, &[Value])| {
            json!({
                "expr": "ALERTS{alertstate=\"firing\",alertname=~\"CeleriacTasksFail|CeleriacWorkerFails\"}",
                "eval_time": format!("{minute}m"),
                "exp_samples": alerts,
            })
        };
        json!({
            "rule_files": [rules],
            "evaluation_interval": "1m",
            "tests": [{
                "interval": "1m",
                "input_series": series.collect::<Vec<_>>(),
                "promql_expr_test": firing.iter().map(expect).collect::<Vec<_>>(),
            }],
        })
    }
}

#[celeriac_tests::test(real, threads = 2)]
async fn a_bad_build_is_seen_by_the_alert_and_stopped_and_mended_by_its_page(bed: Bed) {
    let objects = overlay("canary").await;
    set_up(&objects, &bed, &[]).await;
    let bad = [("BUILD", "bad".to_owned())];
    let [good, other] = ["w1", "w2"].map(|name| PodTemplate::read(&objects, "worker-default", &bed, &[]).start(name));
    let canary = PodTemplate::read(&objects, "worker-default-canary", &bed, &bad).start("canary");
    for pod in [&good, &other, &canary] {
        pod.sees(PATIENCE, |seen| seen.ready.is_some()).await;
    }
    let client = bed.client(bed.program([])).await;
    let mut ledger = Ledger::default();
    let done = CancellationToken::new();
    let look = async {
        let (mut samples, mut beat) = (Samples::default(), interval(MINUTE));
        for _ in 0..WITH {
            beat.tick().await;
            samples.look(&[&good, &other, &canary]).await;
        }
        // kubectl scale deployment/worker-default-canary --replicas 0
        canary.stop();
        let end = canary.end().await;
        assert!(end.took.is_some() && !end.was_killed, "{}", end.output);
        for _ in 0..WITHOUT {
            beat.tick().await;
            samples.look(&[&good, &other]).await;
        }
        done.cancel();
        samples
    };
    let (samples, _) = tokio::join!(look, ledger.issue_each_steadily(&client, A_SECOND, &done, |_| build(LENGTH)));
    assert_eq!(ledger.unconfirmed, 0, "{:?}", ledger.trouble);

    let alert = "ALERTS{alertname=\"CeleriacWorkerFails\",alertstate=\"firing\",severity=\"warning\",\
                 instance=\"canary\",celeriac_task_name=\"test.build\"}";
    let seen = [json!({ "labels": alert, "value": 1 })];
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("test.json");
    let test = samples.test(&[(WITH - 1, &seen), (WITH + WITHOUT - 1, &[])]);
    std::fs::write(&file, test.to_string()).unwrap();
    let promtool = tokio::task::spawn_blocking(promtool).await.unwrap().unwrap();
    let output = Command::new(promtool).args(["test", "rules"]).arg(&file).output().unwrap();
    let told = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(output.status.success(), "{told}\n{test:#}");

    let failed = samples.last("celeriac_tasks_finished_total", "FAILURE");
    let mut retry = bed.process(&["retry", "--failed-since", "1h", "--yes"]);
    assert_eq!(retry.exit_code(PATIENCE).await, 0, "{}", retry.output());
    let recorded = ledger.settle(&bed, PATIENCE).await;
    println!(
        "a bad build as canary: issued {}, failed {failed}, successful after the retry {recorded}",
        ledger.issued()
    );
    assert!(failed > 5.0 && failed < 0.1 * recorded as f64, "{failed}");
    assert_eq!(recorded, ledger.issued());
    for pod in [good, other] {
        pod.stop();
        assert!(!pod.end().await.was_killed);
    }
    client.close().await;
}
