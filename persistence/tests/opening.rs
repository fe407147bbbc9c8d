//! A store that cannot be opened says why and what to do.

use crate::store::Entity;
use persistence::{OpenError, SqliteOptions, SqliteStore};
use std::{fs, process::Command};

const FOLDER: &str = "PERSISTENCE_OPEN_FOLDER";

fn open(folder: &std::path::Path) -> Result<SqliteStore, OpenError> {
    SqliteStore::open(folder, SqliteOptions::default())
}

#[tokio::test]
async fn missing_folders_are_created() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder.path().join("a/b")).unwrap();
    store.close().await;
    assert!(folder.path().join("a/b/store.db").is_file());
    assert!(!folder.path().join("a/b/store.db-wal").exists(), "closing leaves one file behind");
}

#[test]
fn a_file_in_the_place_of_the_folder() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, "x").unwrap();
    for path in [file.clone(), file.join("below")] {
        let error = open(&path).err().unwrap();
        assert!(matches!(error, OpenError::NotAFolder { .. }), "{error:?}");
        assert!(error.to_string().contains("is not a folder; name a folder"), "{error}");
    }
}

#[tokio::test]
async fn a_folder_in_use_names_the_process() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).unwrap();
    let error = open(folder.path()).err().unwrap();
    assert!(matches!(error, OpenError::InUse { pid: Some(pid), .. } if pid == std::process::id()), "{error:?}");
    let text = error.to_string();
    assert!(text.contains(&format!("process {}", std::process::id())), "{text}");
    store.close().await;
    open(folder.path()).expect("free after close").close().await;
}

#[test]
fn a_file_that_is_no_database() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("store.db"), "certainly not a database, and longer than its header".repeat(50))
        .unwrap();
    let error = open(folder.path()).err().unwrap();
    assert!(matches!(error, OpenError::NotADatabase { .. }), "{error:?}");
}

#[tokio::test]
async fn a_newer_schema_and_a_foreign_database() {
    let folder = tempfile::tempdir().unwrap();
    open(folder.path()).unwrap().close().await;
    let file = folder.path().join("store.db");
    let change = |sql: &str| rusqlite::Connection::open(&file).unwrap().execute_batch(sql).unwrap();
    change("UPDATE meta SET value = 99 WHERE key = 'schema_version'");
    let error = open(folder.path()).err().unwrap();
    assert!(matches!(error, OpenError::NewerSchema { found: 99, supported: 2.., .. }), "{error:?}");
    assert!(error.to_string().contains("schema version 99") && error.to_string().contains("run the newer program"));

    change("DROP TABLE meta");
    let error = open(folder.path()).err().unwrap();
    assert!(matches!(error, OpenError::Foreign { .. }), "{error:?}");
}

#[test]
fn a_setting_out_of_range_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let options = SqliteOptions { readers: 0, ..SqliteOptions::default() };
    let error = SqliteStore::open(folder.path(), options).err().unwrap();
    assert_eq!(error.to_string(), "readers is 0, but must be 1 to 16");
}

/// The super-user may write anywhere, so the attempt is made by a child without privileges when the test has them.
#[test]
fn a_folder_without_write_access() {
    use std::os::unix::{fs::PermissionsExt, process::CommandExt};
    let folder = tempfile::tempdir().unwrap();
    // A copy, because the build folder may be closed to other users.
    let program = folder.path().join("test");
    fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o555)).unwrap();
    let mut child = Command::new(&program);
    child.args(["--exact", "opening::open_without_write_access", "--ignored"]).env(FOLDER, folder.path());
    child.current_dir("/");
    if rustix::process::geteuid().is_root() {
        child.uid(65_534);
    }
    let output = child.output().unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}

/// Not a test of its own: the unprivileged part of [`a_folder_without_write_access`].
#[test]
#[ignore = "the child process of a_folder_without_write_access"]
fn open_without_write_access() {
    let folder = std::env::var(FOLDER).expect("started by a_folder_without_write_access");
    for path in [folder.clone(), format!("{folder}/new")] {
        let error = open(path.as_ref()).err().unwrap();
        assert!(matches!(error, OpenError::ReadOnly { .. }), "{error:?}");
        assert!(error.to_string().contains("give this user write access"), "{error}");
    }
}

#[tokio::test]
async fn a_closed_store_refuses_and_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).unwrap();
    let mut entity = Entity::claim(&store, "closed").await;
    entity.append(&store, &["a"]).await.unwrap();
    store.close().await;
    store.close().await;
    let error = entity.append(&store, &["b"]).await.unwrap_err();
    assert_eq!(error.to_string(), "store unavailable: store is closed");
    assert!(error.is_certain());
}
