//! What users meet when they configure the sidecar: precedence, origins, and errors that say what to change.

use std::time::Duration;

use cloudstate::config::{Flag, Origin, ProxyConfig, SETTINGS, Sources, StoreLocation, VersionCheck};

fn sources() -> Sources {
    Sources::default()
}

fn with_file(text: &str) -> Sources {
    Sources { file: Some(("sidecar.toml".to_owned(), text.to_owned())), ..Sources::default() }
}

fn env(name: &str, value: &str) -> (String, String) {
    (name.to_owned(), value.to_owned())
}

fn flag(name: &str, key: &str, value: &str) -> Flag {
    Flag { name: name.to_owned(), key: key.to_owned(), value: value.to_owned() }
}

/// All problems of resolving and reading, one line each.
fn problems(sources: &Sources) -> String {
    match sources.resolve().and_then(|resolved| resolved.config()) {
        Ok(_) => panic!("the configuration must be refused"),
        Err(error) => error.to_string(),
    }
}

#[test]
fn nothing_set_means_the_reference_defaults() {
    let config = ProxyConfig::default();
    assert_eq!(config.http.port, 9000);
    assert_eq!(config.user_function.port, 8080);
    assert_eq!(config.user_function.message_size_max, 12 << 20);
    assert_eq!(config.requests.timeout, Duration::from_secs(60));
    assert_eq!(config.event_sourced.passivation_timeout, Duration::from_secs(30));
    assert_eq!(config.store.location, StoreLocation::Sqlite("./cloudstate-data".into()));
    assert_eq!(config.admin.management.map(|listen| listen.port), Some(8558));
    assert_eq!(config.admin.metrics.map(|listen| listen.port), Some(9090));
}

#[test]
fn single_services_have_relay_timeouts_of_their_own() {
    let resolved = with_file("relay-timeouts = \"shop.Cart=5s, shop.Report = 2m\"").resolve().expect("valid");
    let timeouts = resolved.config().expect("valid").requests.timeouts;
    let expected = [("shop.Cart", 5), ("shop.Report", 120)];
    assert_eq!(timeouts, expected.map(|(name, secs)| (name.to_owned(), Duration::from_secs(secs))).into());
    for wrong in ["shop.Cart", "=5s", "shop.Cart=5", "shop.Cart=0s"] {
        let text = problems(&with_file(&format!("relay-timeouts = \"{wrong}\"")));
        assert!(text.contains("relay-timeouts") && text.contains("com.example.Cart=5s"), "{text}");
    }
    let text = problems(&with_file("relay-timeouts = \"shop.Cart=1h\""));
    assert!(text.contains("relay-timeout-max"), "{text}");
}

/// One setting in all three places: the flag wins, then the environment, then the file; the origin says which.
#[test]
fn flags_win_over_the_environment_and_that_over_the_file() {
    let mut sources = with_file("relay-timeout = \"11s\"\n\n[cloudstate.proxy]\nhttp-port = 9101\n");
    let resolved = sources.resolve().expect("valid");
    assert_eq!(resolved.config().expect("valid").http.port, 9101);
    assert_eq!(resolved.value("http-port").origin, Origin::File { path: "sidecar.toml".to_owned(), line: 4 });

    sources.env.push(env("HTTP_PORT", "9102"));
    let resolved = sources.resolve().expect("valid");
    assert_eq!(resolved.config().expect("valid").http.port, 9102);
    assert_eq!(resolved.value("http-port").origin, Origin::Env("HTTP_PORT".to_owned()));

    sources.flags.push(flag("--http-port", "http-port", "9103"));
    let resolved = sources.resolve().expect("valid");
    assert_eq!(resolved.config().expect("valid").http.port, 9103);
    assert_eq!(resolved.value("http-port").origin, Origin::Flag("--http-port".to_owned()));

    assert_eq!(resolved.config().expect("valid").requests.timeout, Duration::from_secs(11));
    assert!(resolved.is_default("store"));
}

#[test]
fn an_unknown_key_in_the_file_names_its_line_and_the_nearest_key() {
    let text = problems(&with_file("http-port = 9000\nrelay-timout = \"5s\"\n"));
    assert_eq!(text, "unknown configuration key `relay-timout` (sidecar.toml:2); did you mean `relay-timeout`?");
}

#[test]
fn a_key_of_the_reference_that_means_nothing_here_says_what_to_use() {
    let text = problems(&with_file("[eventsourced-entity]\njournal-enabled = true\n"));
    assert_eq!(
        text,
        "unknown configuration key `eventsourced-entity.journal-enabled` (sidecar.toml:2); the journal is always on: choose it with `store`"
    );
}

#[test]
fn an_unknown_variable_of_ours_is_an_error_and_strangers_are_not() {
    let mut stray = sources();
    stray.env.push(env("CLOUDSTATE_STOR", "memory"));
    assert_eq!(
        problems(&stray),
        "unknown configuration key `CLOUDSTATE_STOR` (environment CLOUDSTATE_STOR); did you mean `CLOUDSTATE_STORE`?"
    );

    let mut strangers = sources();
    strangers.env.push(env("PATH", "/bin"));
    // What Kubernetes tells every pod beside a service called "cloudstate".
    strangers.env.push(env("CLOUDSTATE_SERVICE_HOST", "10.0.0.7"));
    strangers.env.push(env("CLOUDSTATE_PORT", "tcp://10.0.0.7:9000"));
    strangers.env.push(env("CLOUDSTATE_PORT_9000_TCP_ADDR", "10.0.0.7"));
    assert!(strangers.resolve().is_ok());
}

#[test]
fn a_wrong_value_names_key_value_origin_and_the_fix() {
    let mut wrong = with_file("relay-timeout = 30\n");
    wrong.env.push(env("HTTP_PORT", "tcp://10.0.0.7:80"));
    wrong.flags.push(flag("--store", "store", "postgres"));
    let text = problems(&wrong);
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(
        lines,
        [
            "`http-port` is `tcp://10.0.0.7:80` (environment HTTP_PORT), but must be a number from 0 to 65535",
            "`relay-timeout` is `30` (sidecar.toml:1), but must be a duration with a unit, such as 250ms, 30s, 5m or 1h, from 1ms to 24h",
            "`store` is `postgres` (flag --store), but must be `memory`, `sqlite:` and a folder, or `postgres://USER@HOST/DATABASE`",
        ]
    );
}

#[test]
fn settings_that_contradict_each_other_are_both_named() {
    let mut sources = sources();
    sources.env.push(env("CLOUDSTATE_RELAY_TIMEOUT", "10m"));
    assert_eq!(
        problems(&sources),
        "`relay-timeout` is 10m (environment CLOUDSTATE_RELAY_TIMEOUT), but must be at most `relay-timeout-max`, which is 5m (default)"
    );
}

/// Development mode closes the two read-only ports, unless somebody asked for one.
#[test]
fn development_mode_opens_no_admin_ports() {
    let mut sources = sources();
    sources.flags.push(flag("--set", "dev-mode-enabled", "true"));
    let admin = sources.resolve().and_then(|resolved| resolved.config()).expect("valid").admin;
    assert_eq!((admin.management, admin.metrics), (None, None));

    sources.env.push(env("MANAGEMENT_PORT", "8559"));
    let admin = sources.resolve().and_then(|resolved| resolved.config()).expect("valid").admin;
    assert_eq!(admin.management.map(|listen| listen.port), Some(8559));
}

#[test]
fn the_version_check_has_three_settings() {
    for (text, expected) in
        [("true", VersionCheck::Lenient), ("strict", VersionCheck::Strict), ("off", VersionCheck::Off)]
    {
        let mut sources = sources();
        sources.flags.push(flag("--set", "protocol-compatibility-check", text));
        let config = sources.resolve().and_then(|resolved| resolved.config()).expect("valid");
        assert_eq!(config.user_function.version_check, expected);
    }
}

/// File, environment and flag, as of every other setting, and a text that says what it may be.
#[test]
fn how_many_snapshots_are_kept_is_a_setting() {
    let kept = |sources: &Sources| {
        let config = sources.resolve().and_then(|resolved| resolved.config()).expect("valid");
        config.event_sourced.snapshots_kept.get()
    };
    let mut found = sources();
    assert_eq!(kept(&found), 2);
    found = with_file("[eventsourced-entity]\nsnapshots-kept = 3\n");
    assert_eq!(kept(&found), 3);
    found.env.push(env("CLOUDSTATE_EVENTSOURCED_ENTITY_SNAPSHOTS_KEPT", "4"));
    assert_eq!(kept(&found), 4);
    found.flags.push(flag("--set", "eventsourced-entity.snapshots-kept", "64"));
    assert_eq!(kept(&found), 64);
    for wrong in ["0", "65", "all"] {
        let mut sources = sources();
        sources.flags.push(flag("--set", "eventsourced-entity.snapshots-kept", wrong));
        assert_eq!(
            problems(&sources),
            format!(
                "`eventsourced-entity.snapshots-kept` is `{wrong}` (flag --set), but must be a number from 1 to 64"
            )
        );
    }
}

/// What `cloudstate config` prints is itself a valid configuration file with the same values.
#[test]
fn printed_configuration_can_be_read_back() {
    let mut sources = sources();
    sources.env.push(env("METRICS_PORT", "off"));
    let resolved = sources.resolve().expect("valid");
    let again = with_file(&resolved.to_text()).resolve().expect("what we print is valid");
    assert_eq!(again.config(), resolved.config());
    assert_eq!(again.values().len(), SETTINGS.len());
}

#[test]
fn json_carries_value_and_origin_of_every_setting() {
    let mut sources = sources();
    sources.env.push(env("HTTP_PORT", "9102"));
    let json: serde_json::Value = serde_json::from_str(&sources.resolve().expect("valid").to_json()).expect("JSON");
    let list = json.as_array().expect("a list");
    assert_eq!(list.len(), SETTINGS.len());
    let port = list.iter().find(|entry| entry["key"] == "http-port").expect("present");
    assert_eq!(port["value"], "9102");
    assert_eq!(port["origin"], serde_json::json!({ "kind": "environment", "name": "HTTP_PORT" }));
}
