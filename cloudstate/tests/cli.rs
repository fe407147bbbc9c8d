//! The binary as its users meet it: help, errors that say what to do, exit statuses, signals, and the user function it starts.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// Far longer than anything here takes; only a failing test waits for it.
const PATIENCE: Duration = Duration::from_secs(20);

fn cloudstate(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_cloudstate"));
    command.args(args).env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default()).stdin(Stdio::null());
    command
}

/// Free ports everywhere and nothing on disk, so that tests can run side by side.
const ANYWHERE: &[&str] = &["--http-port=0", "--management-port=0", "--metrics-port=off", "--store=memory"];

fn run(more: &[&str]) -> Command {
    let mut command = cloudstate(&["run"]);
    command.args(ANYWHERE).args(more);
    command
}

/// Exit status and standard error of a command that must end by itself.
fn ended(command: &mut Command) -> (Option<i32>, String) {
    let output = output(command);
    (output.status.code(), String::from_utf8(output.stderr).expect("UTF-8"))
}

fn output(command: &mut Command) -> Output {
    let mut running = Running::start(command);
    let status = running.exit_status();
    let drain = |lines: &Receiver<String>| lines.iter().map(|line| line + "\n").collect::<String>().into_bytes();
    Output { status, stdout: drain(&running.out), stderr: drain(&running.err) }
}

/// A process of ours and its lines; killed when dropped.
struct Running {
    process: Child,
    out: Receiver<String>,
    err: Receiver<String>,
}

impl Running {
    fn start(command: &mut Command) -> Self {
        let mut process = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the binary is there");
        let out = lines(process.stdout.take().expect("piped"));
        let err = lines(process.stderr.take().expect("piped"));
        Self { process, out, err }
    }

    fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(self.process.id().cast_signed()).expect("running");
        kill_process(pid, signal).expect("running");
    }

    fn exit_status(&mut self) -> std::process::ExitStatus {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.process.try_wait().expect("ours") {
                return status;
            }
            assert!(Instant::now() < deadline, "the process does not end");
            thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn lines(pipe: impl Read + Send + 'static) -> Receiver<String> {
    let (sender, receiver) = channel();
    thread::spawn(move || {
        for line in BufReader::new(pipe).lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                return;
            }
        }
    });
    receiver
}

/// The rest of the first line that starts with `start`.
fn after(lines: &Receiver<String>, start: &str) -> String {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let line =
            lines.recv_timeout(deadline - Instant::now()).unwrap_or_else(|_| panic!("no line starts with {start:?}"));
        if let Some(rest) = line.strip_prefix(start) {
            return rest.to_owned();
        }
    }
}

fn dies(pid: &str) {
    let is_dead = || match fs::read_to_string(format!("/proc/{pid}/stat")) {
        Ok(stat) => stat.rsplit_once(')').is_none_or(|(_, rest)| rest.trim_start().starts_with(['Z', 'X'])),
        Err(_) => true,
    };
    let deadline = Instant::now() + PATIENCE;
    while !is_dead() {
        assert!(Instant::now() < deadline, "process {pid} is still alive");
        thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn help_shows_commands_examples_and_exit_statuses() {
    let text = |args: &[&str]| String::from_utf8(output(&mut cloudstate(args)).stdout).expect("UTF-8");
    let help = text(&["--help"]);
    for word in ["run", "demo", "config", "Examples:", "cloudstate run -- node index.js"] {
        assert!(help.contains(word), "{word} is missing in\n{help}");
    }
    assert!(!help.contains("demo-user-function"), "what users do not need is not shown");
    let help = text(&["run", "--help"]);
    for word in ["--http-port", "HTTP_PORT", "--store", "--set", "Exit status:", "COMMAND"] {
        assert!(help.contains(word), "{word} is missing in\n{help}");
    }
    assert_eq!(text(&["--version"]), format!("cloudstate {}\n", env!("CARGO_PKG_VERSION")));
}

/// File, environment and flag through the real binary: each value says where it comes from.
#[test]
fn config_prints_values_with_their_origin() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("sidecar.toml");
    fs::write(&file, "relay-timeout = \"9s\"\n").expect("written");
    let mut command = cloudstate(&["config", "--json", "--http-port=9001"]);
    command.env("CLOUDSTATE_CONFIG", &file).env("USER_FUNCTION_PORT", "8081");
    let json: serde_json::Value = serde_json::from_slice(&output(&mut command).stdout).expect("JSON");
    let find =
        |key: &str| json.as_array().and_then(|list| list.iter().find(|entry| entry["key"] == key)).expect("present");
    assert_eq!(
        (&find("http-port")["value"], &find("http-port")["origin"]["name"]),
        (&"9001".into(), &"--http-port".into())
    );
    assert_eq!(find("user-function-port")["origin"]["name"], "USER_FUNCTION_PORT");
    assert_eq!(find("relay-timeout")["value"], "9s");
    assert_eq!(find("relay-timeout")["origin"]["line"], 1);
    assert_eq!(find("store")["origin"]["kind"], "default");
}

#[test]
fn a_wrong_configuration_ends_with_status_2_and_a_line_each() {
    let (status, text) = ended(&mut run(&["--set=relay-timout=5s"]));
    assert_eq!(status, Some(2));
    assert_eq!(text, "error: unknown configuration key `relay-timout` (flag --set); did you mean `relay-timeout`?\n");

    let (status, text) = ended(run(&["--set=relay-buffer-size=0"]).env("METRICS_HOST", "here"));
    assert_eq!(status, Some(2));
    assert_eq!(text.lines().count(), 2, "{text}");
    assert!(text.contains("`telemetry.prometheus.host` is `here` (environment METRICS_HOST)"), "{text}");
    assert!(text.contains("`relay-buffer-size` is `0` (flag --set), but must be a number from 1 to 100000"), "{text}");

    let (status, text) = ended(&mut run(&["--config=/nowhere/sidecar.toml"]));
    assert_eq!(status, Some(2));
    assert!(text.starts_with("error: cannot read the configuration file /nowhere/sidecar.toml:"), "{text}");
}

/// Each of the three ports, taken by somebody else.
#[test]
fn a_taken_port_ends_with_status_3_and_names_flag_and_variable() {
    let taken = TcpListener::bind("0.0.0.0:0").expect("a free port");
    let port = taken.local_addr().expect("bound").port();
    for (flag, env) in
        [("--http-port", "HTTP_PORT"), ("--management-port", "MANAGEMENT_PORT"), ("--metrics-port", "METRICS_PORT")]
    {
        let (status, text) = ended(&mut run(&[&format!("{flag}={port}")]));
        assert_eq!(status, Some(3), "{text}");
        let error = text.lines().find(|line| line.starts_with("error: ")).expect("an error");
        for part in [format!("0.0.0.0:{port}"), flag.to_owned(), env.to_owned()] {
            assert!(error.contains(&part), "{part} is missing in {error}");
        }
    }
}

#[test]
fn a_command_that_is_not_there_ends_with_status_5() {
    let (status, text) = ended(&mut run(&["--", "cloudstate-no-such-command", "--flag"]));
    assert_eq!(status, Some(5));
    assert!(text.contains("error: cannot start `cloudstate-no-such-command`: no such command"), "{text}");
}

#[test]
fn a_store_that_another_process_has_names_that_process() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = format!("--store=sqlite:{}", folder.path().display());
    let first = Running::start(&mut run(&[&store, "--", "sh", "-c", "echo up; exec sleep 100000"]));
    after(&first.out, "[function] up");
    let (status, text) = ended(&mut run(&[&store]));
    assert_eq!(status, Some(4), "{text}");
    let error = text.lines().find(|line| line.starts_with("error: ")).expect("an error");
    assert!(error.contains(&format!("in use by process {}", first.process.id())), "{error}");
    assert!(error.contains("--store"), "{error}");
}

#[test]
fn a_store_folder_that_cannot_be_one_says_why() {
    let file = tempfile::NamedTempFile::new().expect("a file");
    let (status, text) = ended(&mut run(&[&format!("--store=sqlite:{}", file.path().display())]));
    assert_eq!(status, Some(4), "{text}");
    assert!(text.contains("is not a folder"), "{text}");

    // Not even root may make folders there.
    let (status, text) = ended(&mut run(&["--store=sqlite:/sys/cloudstate-data"]));
    assert_eq!(status, Some(4), "{text}");
    assert!(text.contains("/sys/cloudstate-data cannot be written"), "{text}");
}

/// The user function is told where to listen, its lines are prefixed, and it ends with the sidecar.
#[test]
fn the_command_gets_host_and_port_and_stops_with_the_sidecar() {
    let script = "echo pid $$; echo at $HOST:$PORT; exec sleep 100000";
    let mut sidecar =
        Running::start(run(&["--set=readiness-grace=0", "--", "sh", "-c", script]).env("USER_FUNCTION_PORT", "4711"));
    let pid = after(&sidecar.out, "[function] pid ");
    assert_eq!(after(&sidecar.out, "[function] at "), "127.0.0.1:4711");
    sidecar.signal(Signal::TERM);
    assert_eq!(sidecar.exit_status().code(), Some(0));
    dies(&pid);
}

#[test]
fn without_a_port_the_command_gets_a_free_one() {
    let sidecar = Running::start(&mut run(&["--", "sh", "-c", "echo port $PORT; exec sleep 100000"]));
    let port: u16 = after(&sidecar.out, "[function] port ").parse().expect("a port");
    assert_ne!(port, 8080);
}

/// A sidecar that is killed cannot clean up: the command ends all the same, and so does what the command has started.
#[test]
fn killing_the_sidecar_ends_the_command_and_its_descendants() {
    let script = "sleep 100000 & echo grandchild $!; echo pid $$; wait";
    let mut sidecar = Running::start(&mut run(&["--", "sh", "-c", script]));
    let grandchild = after(&sidecar.out, "[function] grandchild ");
    let pid = after(&sidecar.out, "[function] pid ");
    sidecar.signal(Signal::KILL);
    sidecar.exit_status();
    dies(&pid);
    dies(&grandchild);
    // Nobody keeps the sidecar's own output open either.
    assert!(sidecar.err.iter().count() > 0);
}

#[test]
fn a_second_signal_ends_at_once() {
    let mut sidecar =
        Running::start(&mut run(&["--set=readiness-grace=5m", "--", "sh", "-c", "echo pid $$; exec sleep 100000"]));
    let pid = after(&sidecar.out, "[function] pid ");
    sidecar.signal(Signal::TERM);
    let stopping = |line: &String| line.contains("a second signal ends at once");
    assert!(sidecar.err.iter().any(|line| stopping(&line)));
    sidecar.signal(Signal::TERM);
    assert_eq!(sidecar.exit_status().code(), Some(130));
    dies(&pid);
}

/// With JSON logs, what the user function prints is wrapped too: every line of both streams is one object.
#[test]
fn json_logs_wrap_the_lines_of_the_user_function() {
    let args = ["--log-format=json", "--", "sh", "-c", "echo hello; exec sleep 100000"];
    let sidecar = Running::start(&mut run(&args));
    loop {
        let line = sidecar.err.recv_timeout(PATIENCE).expect("one more line");
        let event: serde_json::Value = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"));
        if event["target"] == "user_function" {
            assert_eq!((&event["message"], &event["stream"]), (&"hello".into(), &"stdout".into()));
            return;
        }
    }
}

/// A request over a connection of its own: status and body.
fn http(port: &str, request_line: &str, body: &str) -> (String, String) {
    let mut stream = TcpStream::connect(format!("127.0.0.1:{port}")).expect("listening");
    stream.set_read_timeout(Some(PATIENCE)).expect("set");
    let length = body.len();
    let request = format!(
        "{request_line} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}"
    );
    stream.write_all(request.as_bytes()).expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("answered");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a whole answer");
    (head.lines().next().expect("a status line").to_owned(), body.to_owned())
}

/// What the demo tells its user to try works as printed: put something in, look at it, kill the sidecar, start it again, look again.
#[test]
fn the_demo_keeps_the_cart_when_it_is_killed() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = format!("--store=sqlite:{}", folder.path().display());
    let demo = || {
        let running = Running::start(cloudstate(&["demo"]).args(ANYWHERE).arg(&store));
        let line = after(&running.out, "     curl -s http://127.0.0.1:");
        let port = line.split('/').next().expect("a port").to_owned();
        (running, port)
    };
    let (mut first, port) = demo();
    let added =
        http(&port, "POST /cart/alice/items/add", r#"{"productId": "tea", "name": "Green tea", "quantity": 2}"#);
    assert_eq!(added, ("HTTP/1.1 200 OK".to_owned(), "{}".to_owned()));
    let cart = http(&port, "GET /carts/alice", "");
    assert_eq!(cart.1, r#"{"items":[{"productId":"tea","name":"Green tea","quantity":2}]}"#);
    let refused = http(&port, "POST /cart/alice/items/coffee/remove", "");
    assert_eq!(
        refused,
        ("HTTP/1.1 500 Internal Server Error".to_owned(), "product coffee is not in the cart".to_owned())
    );

    first.signal(Signal::KILL);
    first.exit_status();
    let (_second, port) = demo();
    assert_eq!(http(&port, "GET /carts/alice", ""), cart);
}
