//! `cloudstate cluster` against whoever may be there: what is asked, what is shown, and what is said when it does not work.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::thread::{self, JoinHandle};

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
