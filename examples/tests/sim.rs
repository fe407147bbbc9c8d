//! `cargo sim`: what it tells of a seed does not depend on the process that tells it.

use std::process::Command;

fn told(seed: u64) -> Vec<u8> {
    told_of(&["--seed", &seed.to_string(), "--trace"])
}

fn told_of(words: &[&str]) -> Vec<u8> {
    let told = Command::new(env!("CARGO_BIN_EXE_sim")).args(words).output().unwrap();
    assert!(told.status.success(), "{}", String::from_utf8_lossy(&told.stderr));
    told.stdout
}

#[test]
fn equal_seeds_are_equal_traces_to_the_byte_in_two_processes() {
    let (one, two) = (told(3), told(3));
    assert!(one.len() > 100_000, "the trace has each datagram, and this has {} bytes", one.len());
    let differs = one.split(|byte| *byte == b'\n').zip(two.split(|byte| *byte == b'\n')).find(|(one, two)| one != two);
    let text = |line| String::from_utf8_lossy(line).into_owned();
    assert_eq!(differs.map(|(one, two)| (text(one), text(two))), None, "where the stories part");
    assert_eq!(one.len(), two.len());
    assert_ne!(one, told(4));
}

#[test]
fn a_seed_that_was_kept_as_a_story_is_told_again_to_the_byte() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("3.story");
    let file = file.to_str().unwrap();
    let seed = told_of(&["--seed", "3", "--trace", "--write", file]);
    assert!(seed == told_of(&["--story", file, "--trace"]), "the story is another");

    std::fs::write(file, "nodes 3\ntrouble 5000 ms\n  5 ms  kil n0\n").unwrap();
    let refused = Command::new(env!("CARGO_BIN_EXE_sim")).args(["--story", file]).output().unwrap();
    let error = String::from_utf8_lossy(&refused.stderr);
    assert!(!refused.status.success() && error.contains("line 3: `kil` begins no line"), "{error}");
}
