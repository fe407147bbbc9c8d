//! `cloudstate cluster` against real nodes, and whoever else may be there: what is asked, what is shown, what becomes of it, and
//! what is said when it does not work.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::thread::{self, JoinHandle};

use actors::ActorSystem;
use cluster::management::http::{ManagementConfig, serve};
use cluster::{Cluster, ClusterConfig, ClusterManagement, Departure, MemberStatus};

use crate::process::{cloudstate, free_port};

/// Exit status, output and error of `cloudstate cluster WORDS`.
fn cluster(words: &[&str]) -> (Option<i32>, String, String) {
    let output = cloudstate().arg("cluster").args(words).output().expect("the command starts");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("UTF-8");
    (output.status.code(), text(output.stdout), text(output.stderr))
}

/// Answers one request so, and gives it back: at this address.
fn answers(status: &'static str, body: &'static str) -> (String, JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("it is bound").to_string();
    let answering = thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("somebody asks");
        let mut asked = Vec::new();
        while !asked.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).expect("a whole request");
            asked.extend(byte);
        }
        let length = body.len();
        write!(stream, "HTTP/1.1 {status}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}")
            .expect("it reads");
        String::from_utf8(asked).expect("UTF-8")
    });
    (address, answering)
}

/// The error of a command that the management answers so.
fn refused(words: &[&str], status: &'static str, body: &'static str) -> String {
    let (node, answering) = answers(status, body);
    let words: Vec<&str> = words.iter().copied().chain(["--node", &node]).collect();
    let (code, out, error) = cluster(&words);
    answering.join().expect("it was asked");
    assert_eq!((code, out.as_str()), (Some(1), ""), "{error}");
    error.replace(&node, "NODE")
}

const REPORT: &str = r#"{"node":"n1:2551","leader":"n1:2551","members":[{"address":"n1:2551","status":"Up","reachable":true,
    "up_number":1,"roles":[],"data_center":"default","app_version":"0.0.0"}],"hosting_seconds":9.0,"dropped":{}}"#;

#[test]
fn status_is_a_table_or_json_and_leave_is_asked_for_as_a_tool_does() {
    let (node, answering) = answers("200 OK", REPORT);
    let (code, out, error) = cluster(&["status", "--node", &node]);
    assert_eq!(code, Some(0), "{error}");
    assert!(out.contains("n1:2551 (leader)  Up"), "{out}");
    assert!(answering.join().unwrap().starts_with("GET /cluster HTTP/1.1"));

    let (node, answering) = answers("200 OK", REPORT);
    let (_, out, _) = cluster(&["status", "--json", "--node", &node]);
    let report: serde_json::Value = serde_json::from_str(&out).expect("JSON");
    assert_eq!(report["members"][0]["status"], "Up");
    answering.join().unwrap();

    let (node, answering) = answers("202 Accepted", "");
    let (code, out, error) = cluster(&["leave", "n1:2551", "--node", &node]);
    assert_eq!((code, out.as_str()), (Some(0), "n1:2551 is to leave\n"), "{error}");
    let asked = answering.join().unwrap();
    assert!(
        asked.starts_with("POST /cluster/members/n1%3A2551/leave") && asked.contains("x-cluster-management"),
        "{asked}"
    );
}

#[test]
fn what_does_not_work_is_told_with_what_to_do() {
    let nobody = format!("127.0.0.1:{}", free_port());
    let (code, _, error) = cluster(&["status", "--node", &nobody]);
    assert_eq!(code, Some(1));
    assert!(error.contains(&format!("nobody listens at {nobody}")) && error.contains("--node"), "{error}");

    let wants = ("401 Unauthorized", "show the token");
    let error = refused(&["status"], wants.0, wants.1);
    assert!(error.contains("NODE wants a token") && error.contains("--token-file"), "{error}");
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("token");
    fs::write(&file, "correct-horse-battery\n").expect("it is written");
    let file = file.to_str().expect("UTF-8");
    let error = refused(&["status", "--token-file", file], wants.0, wants.1);
    assert!(error.contains("another token than the one in") && error.contains(file), "{error}");

    let error = refused(&["down", "n9:2551"], "404 Not Found", "nobody is a member at n9:2551");
    assert!(error.contains("nobody is a member at n9:2551; `cloudstate cluster status --node NODE`"), "{error}");
    let error = refused(&["status"], "404 Not Found", "<html>");
    assert!(error.contains("no cluster's management at NODE: what listens there is something else"), "{error}");
    let error = refused(&["leave", "n9"], "400 Bad Request", "n9 has no port");
    assert!(error.contains("NODE answered 400 Bad Request: n9 has no port"), "{error}");
}

/// A node of the cluster that `seeds` belong to.
async fn node(seeds: &[&Cluster]) -> Cluster {
    let seeds = seeds.iter().map(|seed| seed.me().address.clone()).collect();
    let config = ClusterConfig { seeds, ..ClusterConfig::local(0) };
    Cluster::join(&ActorSystem::new("node"), config).await.expect("it joins")
}

/// Where its management is served.
async fn management(cluster: &Cluster, token: Option<&str>) -> String {
    let bind = "127.0.0.1:0".parse().expect("an address");
    let config = ManagementConfig { bind, token: token.map(str::to_owned) };
    serve(cluster, ClusterManagement::start(cluster), config).await.expect("it is served").to_string()
}

/// As [`cluster`], while nodes run.
async fn asked(words: &[&str]) -> (Option<i32>, String, String) {
    let words: Vec<String> = words.iter().copied().map(str::to_owned).collect();
    let ask = move || cluster(&words.iter().map(String::as_str).collect::<Vec<_>>());
    tokio::task::spawn_blocking(ask).await.expect("the command ends")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_real_node_shows_its_members_and_lets_them_leave_or_gives_them_up() {
    let one = node(&[]).await;
    let two = node(&[&one]).await;
    let three = node(&[&one]).await;
    let [first, second, third] = [&one, &two, &three].map(|node| node.me().address.to_string());
    let at = management(&one, None).await;

    let (code, out, error) = asked(&["status", "--node", &at]).await;
    assert_eq!(code, Some(0), "{error}");
    let row = |address: &str| out.lines().find(|line| line.split_whitespace().next() == Some(address));
    for address in [&first, &second, &third] {
        assert!(row(address).is_some_and(|row| row.contains(" Up ") && row.contains(" yes ")), "{out}");
    }
    assert_eq!(out.matches("(leader)").count(), 1, "{out}");
    assert!(out.contains(&format!("as {first} sees it")), "{out}");
    let (code, out, error) = asked(&["status", "--json", "--node", &at]).await;
    assert_eq!(code, Some(0), "{error}");
    let report: serde_json::Value = serde_json::from_str(&out).expect("JSON");
    assert_eq!(report["node"], first.as_str());
    let members = report["members"].as_array().expect("a list");
    assert_eq!(members.len(), 3);
    assert!(members.iter().all(|member| member["status"] == "Up" && member["reachable"] == true), "{out}");

    let (code, out, error) = asked(&["leave", &second, "--node", &at]).await;
    assert_eq!((code, out), (Some(0), format!("{second} is to leave\n")), "{error}");
    assert_eq!(two.terminated().await, Departure::Left);
    let (code, out, error) = asked(&["down", &third, "--node", &at]).await;
    assert_eq!((code, out), (Some(0), format!("{third} is given up\n")), "{error}");
    let departure = three.terminated().await;
    // Whichever it hears of first.
    assert!(matches!(departure, Departure::Down | Departure::Removed), "{departure:?}");
    let (code, _, error) = asked(&["down", "127.0.0.1:1", "--node", &at]).await;
    assert_eq!(code, Some(1));
    assert!(error.contains("nobody is a member at 127.0.0.1:1; `cloudstate cluster status --node"), "{error}");
    let (code, _, error) = asked(&["leave", "nowhere", "--node", &at]).await;
    assert_eq!(code, Some(1));
    assert!(error.contains("answered 400 Bad Request"), "{error}");
    assert_eq!(one.member().map(|member| member.status), Some(MemberStatus::Up));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_real_node_with_a_token_obeys_whoever_shows_it_and_nobody_else() {
    let one = node(&[]).await;
    let address = one.me().address.to_string();
    let at = management(&one, Some("correct-horse-battery")).await;
    let folder = tempfile::tempdir().expect("a folder");
    let file = |name: &str, token: &str| {
        let file = folder.path().join(name);
        fs::write(&file, token).expect("it is written");
        file.to_str().expect("UTF-8").to_owned()
    };
    let (right, wrong) = (file("right", "correct-horse-battery\n"), file("wrong", "another-horse-battery\n"));
    for words in [vec!["status"], vec!["leave", &address], vec!["down", &address]] {
        let words = [&words[..], &["--node", &at]].concat();
        let (code, out, error) = asked(&words).await;
        assert_eq!((code, out.as_str()), (Some(1), ""), "{words:?}");
        assert!(error.contains(&format!("{at} wants a token")) && error.contains("--token-file"), "{error}");
        let (code, out, error) = asked(&[&words[..], &["--token-file", &wrong]].concat()).await;
        assert_eq!((code, out.as_str()), (Some(1), ""), "{words:?}");
        assert!(error.contains("another token than the one in") && error.contains(&wrong), "{error}");
    }
    assert_eq!(one.member().map(|member| member.status), Some(MemberStatus::Up), "nobody who may has said so");
    let (code, out, error) = asked(&["status", "--node", &at, "--token-file", &right]).await;
    assert!(code == Some(0) && out.contains(&format!("{address} (leader)  Up")), "{out}{error}");
    let (code, out, error) = asked(&["leave", &address, "--node", &at, "--token-file", &right]).await;
    assert_eq!((code, out), (Some(0), format!("{address} is to leave\n")), "{error}");
    assert_eq!(one.terminated().await, Departure::Left);
}
