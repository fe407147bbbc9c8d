//! Statements of a person: they read, whatever they say.

use super::{closed_with_everything, exported};
use persistence::admin::{AdminError, Cell, Progress, Row, SqliteAdmin};
use std::path::Path;
use tokio::sync::mpsc;

async fn query(admin: &SqliteAdmin, sql: &str) -> Result<Vec<Row>, AdminError> {
    let (sender, mut rows) = mpsc::channel(1);
    let asked = admin.query(sql.to_owned(), Progress::default(), sender);
    let collect = async {
        let mut all = Vec::new();
        while let Some(row) = rows.recv().await {
            all.push(row);
        }
        all
    };
    let (asked, all) = tokio::join!(asked, collect);
    asked.map(|()| all)
}

fn text(text: &str) -> Cell {
    Cell::Text(text.into())
}

#[tokio::test]
async fn the_answer_is_a_header_and_rows() {
    let folder = closed_with_everything().await;
    let admin = SqliteAdmin::open(folder.path()).unwrap();
    let rows = query(&admin, "SELECT entity_type AS type, count(*) n FROM entity GROUP BY 1 ORDER BY 1").await.unwrap();
    let expected =
        [vec![text("type"), text("n")], vec![text("test"), Cell::Integer(2)], vec![text("value"), Cell::Integer(2)]];
    assert_eq!(rows, expected);
    let rows = query(&admin, "SELECT NULL, 1.5, x'00ff', 'é'").await.unwrap();
    assert_eq!(rows[1], [Cell::Null, Cell::Real(1.5), Cell::Blob(vec![0, 255]), text("é")]);
    assert_eq!(query(&admin, "SELECT 1 WHERE 0").await.unwrap().len(), 1, "a header alone");
    assert!(query(&admin, "PRAGMA table_info(journal)").await.unwrap().len() > 5);
    assert!(!query(&admin, "EXPLAIN QUERY PLAN SELECT * FROM journal").await.unwrap().is_empty());
    assert!(
        !query(&admin, "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 9) SELECT * FROM n")
            .await
            .unwrap()
            .is_empty()
    );
}

#[tokio::test]
async fn nothing_but_reading_is_done() {
    let folder = closed_with_everything().await;
    let admin = SqliteAdmin::open(folder.path()).unwrap();
    let before = exported(&admin).await.unwrap();
    let elsewhere = folder.path().join("elsewhere.db");
    let elsewhere = elsewhere.display();
    let refused = [
        "DELETE FROM journal".to_owned(),
        "UPDATE entity SET epoch = 9".into(),
        "INSERT INTO tag(name) VALUES ('x')".into(),
        "DROP TABLE journal".into(),
        "CREATE TABLE mine(x)".into(),
        "CREATE TEMP TABLE mine(x)".into(),
        "PRAGMA journal_mode = DELETE".into(),
        "PRAGMA query_only = 0".into(),
        "PRAGMA wal_checkpoint(TRUNCATE)".into(),
        "PRAGMA writable_schema = 1".into(),
        "PRAGMA user_version = 3".into(),
        "VACUUM".into(),
        "REINDEX".into(),
        "ANALYZE".into(),
        "BEGIN IMMEDIATE".into(),
        "COMMIT".into(),
        format!("VACUUM INTO '{elsewhere}'"),
        format!("ATTACH '{elsewhere}' AS other"),
        "SELECT load_extension('/tmp/mine.so')".into(),
        "WITH gone AS (SELECT 1) DELETE FROM journal".into(),
    ];
    for sql in refused {
        let error = query(&admin, &sql).await.expect_err(&sql);
        assert!(matches!(error, AdminError::Statement(_)), "{sql}: {error}");
    }
    assert!(!Path::new(&elsewhere.to_string()).exists());
    assert_eq!(exported(&admin).await.unwrap(), before);
    assert_eq!(query(&admin, "SELECT 1").await.unwrap().len(), 2, "and reading goes on");
}

#[tokio::test]
async fn mistakes_are_said_in_the_words_of_the_database() {
    let folder = closed_with_everything().await;
    let admin = SqliteAdmin::open(folder.path()).unwrap();
    for (sql, says) in [
        ("SELECT * FROM journel", "no such table: journel"),
        ("SELEC 1", "syntax error"),
        ("SELECT 1; SELECT 2", "one statement at a time"),
        ("SELECT ?1", "parameter"),
        ("SELECT abs(-9223372036854775808)", "integer overflow"),
    ] {
        let error = query(&admin, sql).await.unwrap_err();
        assert!(matches!(&error, AdminError::Statement(_)), "{sql}: {error:?}");
        assert!(error.to_string().contains(says), "{sql}: {error}");
    }
}

/// Whoever reads the rows goes away: the statement ends, however many there would be.
#[tokio::test]
async fn a_statement_without_end_ends_with_its_reader() {
    let folder = closed_with_everything().await;
    let admin = SqliteAdmin::open(folder.path()).unwrap();
    let endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT i FROM n";
    let (sender, mut rows) = mpsc::channel(1);
    let asked = admin.query(endless.to_owned(), Progress::default(), sender);
    let look = async {
        for _ in 0..100 {
            rows.recv().await.unwrap();
        }
        drop(rows);
    };
    assert!(matches!(tokio::join!(asked, look).0, Err(AdminError::Cancelled)));
    let (sender, _rows) = mpsc::channel(1);
    let progress = Progress::default();
    let asked = admin.query(format!("SELECT max(i) FROM ({endless})"), progress.clone(), sender);
    let (asked, ()) = tokio::join!(asked, async { progress.cancel() });
    assert!(matches!(asked, Err(AdminError::Cancelled)), "nor does one that answers nothing go on");
}
