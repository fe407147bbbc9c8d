//! The headers of W3C Trace Context.

use proptest::prelude::*;

use super::{TraceContext, TraceContextError, TraceState};

const HEADER: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

fn refusal(header: &str) -> TraceContextError {
    header.parse::<TraceContext>().expect_err(header)
}

#[test]
fn a_header_comes_out_as_it_came() {
    let context: TraceContext = HEADER.parse().unwrap();
    assert_eq!(context.to_string(), HEADER);
    assert_eq!(context.trace_id().get(), 0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736);
    assert_eq!(context.span_id().get(), 0x00f0_67aa_0ba9_02b7);
    assert!(context.is_sampled());
}

#[test]
fn what_is_not_as_it_has_to_be_is_refused_with_its_reason() {
    let with = |from: &str, to: &str| HEADER.replacen(from, to, 1);
    assert_eq!(refusal(""), TraceContextError::Length);
    assert_eq!(refusal(&HEADER[..54]), TraceContextError::Length);
    assert_eq!(refusal(&format!("{HEADER}-")), TraceContextError::Length, "version 00 has nothing more");
    assert_eq!(refusal(&format!(" {}", &HEADER[..54])), TraceContextError::Form);
    assert_eq!(refusal(&with("4bf9", "4BF9")), TraceContextError::Form, "upper case");
    assert_eq!(refusal(&with("4bf9", "+bf9")), TraceContextError::Form, "a sign is no digit");
    assert_eq!(refusal(&with("-00f0", "_00f0")), TraceContextError::Form);
    assert_eq!(refusal(&with("00-", "ff-")), TraceContextError::Version);
    assert_eq!(refusal(&with("4bf92f3577b34da6a3ce929d0e0e4736", &"0".repeat(32))), TraceContextError::Zero);
    assert_eq!(refusal(&with("00f067aa0ba902b7", &"0".repeat(16))), TraceContextError::Zero);
    assert_eq!(refusal(&"ä".repeat(40)), TraceContextError::Form, "no boundary of characters is cut through");
}

#[test]
fn a_later_version_is_read_as_far_as_it_is_known_and_written_as_the_known_one() {
    let later = HEADER.replacen("00-", "cc-", 1);
    assert_eq!(later.parse::<TraceContext>().unwrap().to_string(), HEADER);
    let longer = format!("{later}-what-the-future-brings");
    assert_eq!(longer.parse::<TraceContext>().unwrap().to_string(), HEADER);
    assert_eq!(refusal(&format!("{later}x")), TraceContextError::Length);
}

#[test]
fn flags_that_nobody_knows_are_not_handed_on() {
    let unknown = HEADER.replacen("-01", "-fd", 1);
    assert_eq!(unknown.parse::<TraceContext>().unwrap().to_string(), HEADER);
    let quiet: TraceContext = HEADER.replacen("-01", "-fe", 1).parse().unwrap();
    assert!(!quiet.is_sampled());
    assert!(quiet.to_string().ends_with("-02"), "that the id is random is handed on");
}

#[test]
fn a_state_is_kept_in_order_and_a_bad_one_does_not_break_the_trace() {
    let context = TraceContext::from_headers(HEADER, " rojo=00f067 ,, \tcongo=t61 rcWg ,a@b=~ ").unwrap();
    assert_eq!(context.state().as_str(), "rojo=00f067,congo=t61 rcWg,a@b=~");
    assert_eq!(context.state().get("congo"), Some("t61 rcWg"));
    let context = TraceContext::from_headers(HEADER, "Rojo=1").unwrap();
    assert!(context.state().is_empty());
    assert_eq!(context.to_string(), HEADER);
    assert!(TraceContext::from_headers(&HEADER[1..], "rojo=1").is_err());
}

#[test]
fn a_state_has_its_limits() {
    let list = |count: usize| (0..count).map(|at| format!("k{at}=v")).collect::<Vec<_>>().join(",");
    assert!(list(32).parse::<TraceState>().is_ok());
    assert!(list(33).parse::<TraceState>().is_err());
    let long = |length: usize| "k".repeat(length);
    for (header, good) in [
        (format!("{}=v", long(256)), true),
        (format!("{}=v", long(257)), false),
        (format!("k={}", long(256)), true),
        (format!("k={}", long(257)), false),
        (format!("{}@{}=v", long(241), long(14)), true),
        (format!("{}@{}=v", long(242), long(14)), false),
        (format!("{}@{}=v", long(241), long(15)), false),
        ("1k@k=v".into(), true),
        ("1k=v".into(), false),
        ("k@1=v".into(), false),
        ("@k=v".into(), false),
        ("k@=v".into(), false),
        ("k@k@k=v".into(), false),
        ("k".into(), false),
        ("k=".into(), false),
        ("=v".into(), false),
        ("k=v=w".into(), false),
        ("k=v\tw".into(), false),
        ("k=ü".into(), false),
        ("k=1,k=2".into(), false),
        (String::new(), true),
    ] {
        assert_eq!(header.parse::<TraceState>().is_ok(), good, "{header}");
    }
}

proptest! {
    #[test]
    fn all_contexts_survive_their_header(trace_id in 1u128.., span_id in 1u64.., sampled: bool) {
        let context = TraceContext::new(trace_id.try_into().unwrap(), span_id.try_into().unwrap(), sampled);
        prop_assert_eq!(context.to_string().parse::<TraceContext>(), Ok(context));
    }

    #[test]
    fn what_is_read_as_version_00_is_written_the_same_but_for_flags(header in "00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}") {
        if let Ok(context) = header.parse::<TraceContext>() {
            prop_assert_eq!(&context.to_string()[..53], &header[..53]);
        }
    }

    #[test]
    fn no_text_is_more_than_refused(header in any::<String>(), state in any::<String>()) {
        let _ = TraceContext::from_headers(&header, &state);
        if let Ok(parsed) = state.parse::<TraceState>() {
            prop_assert_eq!(parsed.as_str().parse::<TraceState>(), Ok(parsed.clone()));
        }
    }

    #[test]
    fn a_near_miss_is_refused_or_means_the_same(at in 0usize..55, with in "[ -~]") {
        let mut header = HEADER.to_owned();
        header.replace_range(at..=at, &with);
        if let Ok(context) = header.parse::<TraceContext>() {
            prop_assert!(header[at..=at].bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f' | b'-')));
            prop_assert_eq!(&context.to_string()[3..52], &header[3..52]);
        }
    }

    #[test]
    fn lists_of_members_are_read_as_they_are_written(
        members in prop::collection::btree_map("[a-z][a-z0-9_*/-]{0,20}", "[!-+--<>-~]{1,20}", 0..32),
    ) {
        let header = members.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(" , ");
        let state: TraceState = header.parse().unwrap();
        let read: Vec<_> = state.iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
        prop_assert_eq!(read, members.into_iter().collect::<Vec<_>>());
    }
}
