use dataplane::load::sample::{Failure, Outcome, Sample};
use dataplane::load::schedule::Pace;

use super::*;

fn plan(qps: f64, end: End) -> Plan {
    Plan {
        warmup_us: 0,
        pace: Pace::new(qps, 2, end),
        url: "http://10.0.0.1:8080/1k".parse().unwrap(),
        method: "GET".into(),
        fields: Vec::new(),
        payload: None,
        keep_alive: true,
        timeout_us: None,
        verify: false,
    }
}

fn percentiles() -> Percentiles {
    Percentiles(vec![50.0, 90.0, 99.9])
}

/// Ten exchanges of 1 to 10 ms that began half a millisecond late.
fn ten() -> Tally {
    let mut tally = Tally::new();
    for number in 1..=10u64 {
        tally.record(&Sample {
            due_us: 0,
            started_us: 500,
            ended_us: number * 1000,
            outcome: match number {
                9 => Outcome::Status(503),
                10 => Outcome::Failed(Failure::Timeout),
                _ => Outcome::Status(200),
            },
            head_bytes: 100,
            body_bytes: 1024,
        });
    }
    tally.sockets = 2;
    tally
}

fn report<'a>(plan: &'a Plan, tally: &'a Tally, percentiles: &'a Percentiles) -> Report<'a> {
    Report {
        plan,
        workers: 1,
        carrier: "kernel sockets",
        elapsed_us: 2_000_000,
        started_unix_ns: 784_111_777_000_000_000,
        tally,
        percentiles,
    }
}

#[test]
fn the_layout_is_fortios() {
    let (plan, tally, percentiles) = (plan(0.0, End::AfterUs(2_000_000)), ten(), percentiles());
    let expected = "\
Ended after 2s : 10 calls. qps=5
Aggregated Function Time : count 10 avg 0.0055 +/- 0.00287228 min 0.001 max 0.01 sum 0.055
# range, mid point, percentile, count
>= 0.001 <= 0.0015 , 0.00125 , 10.00, 1
>= 0.002 <= 0.003 , 0.0025 , 20.00, 1
>= 0.003 <= 0.004 , 0.0035 , 30.00, 1
>= 0.004 <= 0.005 , 0.0045 , 40.00, 1
>= 0.005 <= 0.007 , 0.006 , 60.00, 2
>= 0.007 <= 0.01 , 0.0085 , 90.00, 3
>= 0.01 <= 0.01 , 0.01 , 100.00, 1
# target 50% 0.005003
# target 90% 0.009007
# target 99.9% 0.01
Error cases : count 1 avg 0.01 +/- 0 min 0.01 max 0.01 sum 0.01
Sockets used: 2 (for perfect keepalive, would be 2)
Code 200 : 8 (80.0 %)
Code 503 : 1 (10.0 %)
Code  -1 : 1 (10.0 %)
Of these: timed out 1
Response Header Sizes : count 9 avg 100 +/- 0 min 100 max 100 sum 900
Response Body/Total Sizes : count 9 avg 1124 +/- 0 min 1124 max 1124 sum 10116
All done 10 calls (plus 0 warmup) 5.500 ms avg, 5.0 qps
";
    let text = report(&plan, &tally, &percentiles).to_string();
    assert_eq!(text, expected, "\n{text}");
}

#[test]
fn at_a_fixed_rate_both_times_are_told() {
    let (plan, mut tally, percentiles) = (plan(5.0, End::Requests(12)), ten(), percentiles());
    tally.missed = 2;
    let text = report(&plan, &tally, &percentiles).to_string();
    for line in [
        "# target 50% 0.005003\n",
        "\nService Time : count 10 avg 0.005 +/-",
        "\n# service 50% 0.004503",
        "\nCalls due but never begun: 2\n",
    ] {
        assert!(text.contains(line), "no {line:?} in\n{text}");
    }
}

#[test]
fn a_run_without_exchanges_has_a_report_too() {
    let (plan, tally, percentiles) = (plan(0.0, End::Never), Tally::new(), percentiles());
    let mut report = report(&plan, &tally, &percentiles);
    report.elapsed_us = 0;
    let expected = "\
Ended after 0s : 0 calls. qps=0
Aggregated Function Time : no data
Error cases : no data
Sockets used: 0 (for perfect keepalive, would be 2)
Response Header Sizes : no data
Response Body/Total Sizes : no data
All done 0 calls (plus 0 warmup) 0.000 ms avg, 0.0 qps
";
    assert_eq!(report.to_string(), expected);
    let json: Value = serde_json::from_str(&report.json().to_string()).unwrap();
    assert_eq!(json["DurationHistogram"]["Count"], 0);
    assert_eq!(json["DurationHistogram"]["Min"], 0.0);
    assert_eq!(json["RequestedDuration"], "until interrupted");
}

#[test]
fn json_has_fortios_names() {
    let (plan, tally, percentiles) = (plan(100.0, End::AfterUs(2_000_000)), ten(), percentiles());
    let text = report(&plan, &tally, &percentiles).json().to_string();
    let json: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(json["RequestedQPS"], "100");
    assert_eq!(json["RequestedDuration"], "2s");
    assert_eq!(json["ActualQPS"], 5.0);
    assert_eq!(json["ActualDuration"], 2_000_000_000u64);
    assert_eq!(json["StartTime"], "1994-11-06T08:49:37Z");
    assert_eq!(json["NumThreads"], 1);
    assert_eq!(json["NumConnections"], 2);
    assert_eq!(json["SocketCount"], 2);
    assert_eq!(json["RetCodes"], json!({ "200": 8, "503": 1, "-1": 1 }));
    assert_eq!(json["Failures"], json!({ "timed out": 1 }));
    assert_eq!(json["Sizes"]["Sum"], 10_116);
    assert_eq!(json["HeaderSizes"]["Avg"], 100.0);
    let histogram = &json["DurationHistogram"];
    assert_eq!(histogram["Count"], 10);
    assert_eq!(histogram["Max"], 0.01);
    assert_eq!(
        histogram["Percentiles"][1],
        json!({ "Percentile": 90.0, "Value": 0.009_007 })
    );
    assert_eq!(histogram["Data"][0]["Count"], 1);
    assert_eq!(
        json["ServiceHistogram"]["Percentiles"][0]["Value"],
        0.004_503
    );
    assert_eq!(json["ErrorsDurationHistogram"]["Count"], 1);
    let count: u64 = histogram["Data"]
        .as_array()
        .unwrap()
        .iter()
        .map(|range| range["Count"].as_u64().unwrap())
        .sum();
    assert_eq!(count, 10);
}

#[test]
fn numbers_are_shown_without_powers_of_ten() {
    for (value, text) in [
        (0.0, "0"),
        (f64::NAN, "0"),
        (0.000_075, "0.000075"),
        (0.0123, "0.0123"),
        (1.0 / 3.0, "0.333333"),
        (2.0, "2"),
        (22_359.123_456, "22359.1"),
        (1_234_567.8, "1234568"),
        (1e9, "1000000000"),
    ] {
        assert_eq!(significant(value), text);
    }
}
