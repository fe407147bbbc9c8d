//! `actors`, `cluster`, `sharding` and `persistence` get network, chance, files and threads from values that are handed in, so
//! that whole clusters run in one process and one seed tells all of a run. What reaches for those of the machine is a door:
//! listed here, each with its reason. `clippy.toml` does the same for time and the environment.
//!
//! What only tests are made of is not looked at.

use std::{fmt, fs, path::Path};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Sockets,
    Chance,
    Files,
    /// Threads, and tasks that belong to nobody.
    Threads,
}
use Kind::{Chance, Files, Sockets, Threads};

/// What is looked for, as whole words, in code and in each path that is imported.
const WORDS: &[(Kind, &[&str])] = &[
    (
        Sockets,
        &[
            "TcpListener",
            "TcpStream",
            "TcpSocket",
            "UdpSocket",
            "UnixDatagram",
            "UnixListener",
            "UnixStream",
            "lookup_host",
            "to_socket_addrs",
            "socket2",
        ],
    ),
    (
        Chance,
        &[
            "rand::random",
            "rand::random_bool",
            "rand::random_iter",
            "rand::random_range",
            "rand::random_ratio",
            "rand::rng",
            "rand::make_rng",
            "rand::fill",
            "thread_rng",
            "ThreadRng",
            "OsRng",
            "SysRng",
            "from_os_rng",
            "try_from_os_rng",
            "from_entropy",
            "getrandom",
            "SystemRandom",
            "RandomState",
        ],
    ),
    (
        Files,
        &[
            "std::fs",
            "tokio::fs",
            "rustix::fs",
            "fs::",
            "File::open",
            "File::create",
            "OpenOptions",
            "tempfile",
            "Connection::open",
            "Connection::open_with_flags",
            ".exists()",
            ".is_dir()",
            ".is_file()",
            ".read_dir()",
            ".canonicalize()",
            ".symlink_metadata()",
            ".try_exists()",
            "process::Command",
        ],
    ),
    (
        Threads,
        &[
            "tokio::spawn",
            "task::spawn",
            "task::spawn_blocking",
            ".spawn_blocking(",
            "spawn_local",
            "LocalSet",
            "thread::spawn",
            "thread::scope",
            "thread::Builder",
            "runtime::Builder",
            "Runtime::new",
        ],
    ),
];

/// A file or a folder that may, and why.
const DOORS: &[(&str, &[Kind], &str)] = &[
    ("actors/src/context/blocking.rs", &[Threads], "the door to threads that may block, tied to an actor"),
    ("actors/src/pinned/thread.rs", &[Threads], "an actor that asks for a thread of its own"),
    ("actors/src/system.rs", &[Chance], "the seed of a system that was given none"),
    ("actors/src/testkit/ground.rs", &[Threads], "the runtime of a test, in virtual time"),
    (
        "actors/src/watchdog/mod.rs",
        &[Threads],
        "it watches the workers, so none of them can do it; off in virtual time",
    ),
    ("cluster/src/cluster/join.rs", &[Chance], "the seed of `Seams` on a machine; a simulation gives its own"),
    ("cluster/src/discovery/dns.rs", &[Sockets], "the machine's `Resolver`"),
    ("cluster/src/discovery/file.rs", &[Files, Threads], "the `Discovery` that is a file"),
    (
        "cluster/src/management/http.rs",
        &[Sockets],
        "for people and tools beside the cluster; simulations ask its actor",
    ),
    ("cluster/src/remote/remoting/control_thread.rs", &[Threads], "`Seams::control` on a machine"),
    ("cluster/src/remote/tcp.rs", &[Sockets], "the `Transport` of a machine"),
    ("cluster/src/testkit/sim/mod.rs", &[Threads], "the runtime of a simulation, in virtual time"),
    (
        "persistence/src/admin/",
        &[Chance, Files, Threads],
        "for people, outside of any actor system: chance names a file",
    ),
    (
        "persistence/src/postgres/",
        &[Chance, Threads],
        "a real server, outside of any actor system: chance names a store and spreads pauses",
    ),
    ("persistence/src/projection/read_model.rs", &[Files, Threads], "a database on SQLite, with a thread of its own"),
    ("persistence/src/sqlite/", &[Files, Threads], "the store on SQLite; tests replace the disk below it by a VFS"),
    (
        "persistence/src/testkit/",
        &[Chance, Files, Sockets, Threads],
        "contracts of stores, and processes that are killed",
    ),
];

#[test]
fn only_doors_reach_for_the_machine() {
    let root = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."));
    let mut found = Vec::new();
    for krate in ["actors", "cluster", "persistence", "sharding"] {
        look_at(root, &format!("{krate}/src/lib.rs"), &mut found);
    }
    let leads = |door: &(&str, &[Kind], &str), it: &Found| it.file.starts_with(door.0) && door.1.contains(&it.kind);
    let strays: Vec<_> =
        found.iter().filter(|it| !DOORS.iter().any(|door| leads(door, it))).map(|it| format!("\n{it}")).collect();
    assert!(
        strays.is_empty(),
        "these reach for the machine past the seams: take what is handed in (`Clock`, `Seams`, `ActorSystem::random_bits`, \
         `ActorContext::spawn_blocking`, a trait), or add a door with its reason:{}",
        strays.concat()
    );
    for door in DOORS {
        for kind in door.1 {
            assert!(
                found.iter().any(|it| it.kind == *kind && it.file.starts_with(door.0)),
                "{} is no door for {kind:?} any more: take it off the list",
                door.0
            );
        }
    }
}

struct Found {
    kind: Kind,
    file: String,
    word: &'static str,
    line: String,
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}: `{}` in: {}", self.kind, self.file, self.word, self.line)
    }
}

/// Looks at a module and those in it.
fn look_at(root: &Path, file: &str, found: &mut Vec<Found>) {
    let text = fs::read_to_string(root.join(file)).unwrap_or_else(|error| panic!("{file}: {error}"));
    let lines = without_tests(&text);
    let imports = imports(&lines.join(" "));
    for line in lines.iter().copied().chain(imports.iter().map(String::as_str)) {
        for (kind, word) in WORDS.iter().flat_map(|(kind, words)| words.iter().map(move |word| (*kind, *word))) {
            if has(line, word) {
                found.push(Found { kind, file: file.to_owned(), word, line: line.trim().to_owned() });
            }
        }
    }
    let folder = file.strip_suffix("/mod.rs").or_else(|| file.strip_suffix("/lib.rs"));
    let folder = folder.unwrap_or_else(|| file.trim_end_matches(".rs"));
    for line in lines {
        let Some(module) = line.trim().strip_suffix(';').and_then(|line| line.rsplit_once("mod ")).map(|it| it.1)
        else {
            continue;
        };
        let places = [format!("{folder}/{module}.rs"), format!("{folder}/{module}/mod.rs")];
        let place = places.iter().find(|place| root.join(place).is_file());
        look_at(root, place.unwrap_or_else(|| panic!("{file}: no {module}")), found);
    }
}

/// The lines of code that are not for tests and models alone.
fn without_tests(text: &str) -> Vec<&str> {
    let mut kept = Vec::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        let line = line.split(" // ").next().unwrap_or_default();
        let code = line.trim_start();
        if code.starts_with("//") || code.is_empty() {
            continue;
        }
        let has = |what| code.starts_with("#[cfg(") && code.contains(what);
        let is_for_tests = has("(test") && !has("not(test") || has("(actors_loom") && !has("not(");
        if !is_for_tests {
            kept.push(line);
            continue;
        }
        // The item that follows: up to its end at the same depth.
        let indent = &line[..line.len() - code.len()];
        for line in lines.by_ref() {
            let is_at_depth = line.starts_with(indent) && !line[indent.len()..].starts_with(' ');
            if is_at_depth && line.ends_with(['}', ';', ',']) && !line.trim_start().starts_with("#[") {
                break;
            }
        }
    }
    kept
}

/// Each path that is imported, one by one.
fn imports(code: &str) -> Vec<String> {
    let mut all = Vec::new();
    for statement in code.split("use ").skip(1).filter_map(|rest| rest.split(';').next()) {
        expand("", statement, &mut all);
    }
    all
}

fn expand(prefix: &str, tree: &str, all: &mut Vec<String>) {
    let tree = tree.trim();
    let Some((path, group)) = tree.split_once('{') else {
        return all.push(format!("{prefix}{tree}"));
    };
    let prefix = format!("{prefix}{}", path.trim());
    let (mut depth, mut part) = (0, String::new());
    for c in group[..group.rfind('}').unwrap_or(group.len())].chars().chain([',']) {
        match c {
            ',' if depth == 0 => {
                if !part.trim().is_empty() {
                    expand(&prefix, &std::mem::take(&mut part), all);
                }
                continue;
            }
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        part.push(c);
    }
}

/// Whether `line` has `word`, and not as a part of another.
fn has(line: &str, word: &str) -> bool {
    let is_of_word = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
    line.match_indices(word).any(|(at, _)| {
        let (before, after) = (line[..at].chars().next_back(), line[at + word.len()..].chars().next());
        (word.starts_with('.') || !is_of_word(before)) && (!word.ends_with(char::is_alphanumeric) || !is_of_word(after))
    })
}

#[test]
fn what_is_hidden_in_an_import_or_a_longer_word_is_told_apart() {
    let imported = imports("use std::{fs as files, thread::{self, Builder}}; use rand::{RngExt, random};");
    assert_eq!(
        imported,
        ["std::fs as files", "std::thread::self", "std::thread::Builder", "rand::RngExt", "rand::random"]
    );
    assert!(has("std::fs as files", "std::fs") && has("std::thread::Builder", "thread::Builder"));
    assert!(!has("crate::refs::Found", "fs::") && !has("rng.random_range(0..3)", "rand::random_range"));
    assert!(!has("rand::randomness", "rand::random"));
    let kept =
        without_tests("fn a() {}\n#[cfg(test)]\nmod tests {\n    fn b() {\n    }\n}\n#[cfg(test)]\nmod c;\nmod d;");
    assert_eq!(kept, ["fn a() {}", "mod d;"]);
}
