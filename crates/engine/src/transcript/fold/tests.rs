use std::path::Path;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::json;

use super::*;

fn frame(number: u64, stream: FrameStream, bytes: &[u8]) -> Frame {
    let at = Moment::from_micros(i64::try_from(number).unwrap() * 1000);
    Frame { seq: number, stream, at, bytes: bytes.to_vec(), offset: number, next_offset: number + 1 }
}

fn fold(kind: &str) -> Fold {
    let (nothing, host) = (Json::Null, adapters::Host::default());
    let setup = adapters::Setup {
        run_id: "r",
        company_id: "c",
        agent_id: "a",
        agent_name: "Ada",
        task_key: None,
        config: &nothing,
        context: &nothing,
        wake_reason: None,
        session: None,
        session_note: None,
        started_at: Moment::from_micros(0),
        api_url: "",
        api_key: None,
        program: Path::new("bugle"),
        default_cwd: Path::new("/"),
        host: &host,
    };
    Fold::new(adapters::find(kind).expect("a kind").reader(&setup))
}

fn all(fold: &mut Fold, frames: &[Frame]) -> Vec<What> {
    let mut said = Vec::new();
    frames.iter().for_each(|frame| fold.take(frame, &mut said));
    fold.finish(&mut said);
    said.into_iter().map(|(_, what)| what).collect()
}

fn event(value: &Json) -> Vec<u8> {
    format!("::bugle:: {value}\n").into_bytes()
}

/// Breaks over its second line.
struct Fragile(u32);

impl Reader for Fragile {
    fn line(&mut self, _: Source, _: &[u8]) -> Vec<AgentEvent> {
        self.0 += 1;
        assert!(self.0 < 2, "no more");
        vec![AgentEvent::Message { text: "first".to_owned() }]
    }
}

#[test]
fn a_reader_that_breaks_is_said_once_and_the_rest_is_shown_as_it_is() {
    let mut fold = Fold::new(Box::new(Fragile(0)));
    let frames = [frame(1, FrameStream::Stdout, b"a\nb\nc\n"), frame(2, FrameStream::Stdout, b"d\n")];
    let said = all(&mut fold, &frames);
    assert!(matches!(&said[0], What::Message { text } if text.text == "first"), "{said:?}");
    assert!(matches!(&said[1], What::Error { error } if error.message.contains("broke")), "{said:?}");
    let rest = |what: &What| matches!(what, What::Output { text, .. } if text.text.ends_with("d\n"));
    assert!(said.len() == 3 && rest(&said[2]), "{said:?}");
}

#[test]
fn where_output_is_missing_it_is_said_and_torn_lines_are_not_read() {
    let message = event(&json!({"type": "message", "text": "whole"}));
    let gap = br#"{"note":"gap","droppedBytes":77,"resume":9}"#;
    let frames = [
        frame(1, FrameStream::Stdout, b"::bugle:: {\"type\":\"mess"),
        frame(2, FrameStream::Keeper, gap),
        frame(3, FrameStream::Stdout, b"age\",\"text\":\"torn\"}\n"),
        frame(4, FrameStream::Stdout, &message),
        frame(5, FrameStream::Keeper, br#"{"note":"exec_ok","pid":7}"#),
    ];
    let said = all(&mut fold("scripted"), &frames);
    assert_eq!(said.len(), 2, "{said:?}");
    assert!(matches!(&said[0], What::Output { text, .. } if text.text.starts_with("77 bytes")), "{said:?}");
    assert!(matches!(&said[1], What::Message { text } if text.text == "whole"), "{said:?}");
}

#[test]
fn lines_of_a_protocol_are_not_output_and_what_a_program_complains_about_is() {
    let frames = [
        frame(1, FrameStream::Stdout, b"{\"type\":\"something.new\"}\n\n"),
        frame(2, FrameStream::Stderr, b"a complaint\nanother\n"),
        frame(3, FrameStream::Stdin, b"the prompt\n"),
    ];
    let said = all(&mut fold("codex_local"), &frames);
    let output = Clipped { text: "a complaint\nanother\n".to_owned(), left_out: 0 };
    assert_eq!(said.first(), Some(&What::Output { stream: FrameStream::Stderr, text: output }));
    assert!(!said[1..].iter().any(|what| matches!(what, What::Output { .. })), "{said:?}");
}

/// What programs say, and bytes that nobody says.
fn babble(dice: &mut StdRng) -> Vec<u8> {
    let words: [&[u8]; 14] = [
        b"\n",
        b"\n",
        b"\r\n",
        b"::bugle:: ",
        b"{\"type\":\"",
        b"tool_call",
        b"tool_result",
        b"\",\"id\":\"1\"",
        b",\"name\":\"t\",\"input\":{}}\n",
        b",\"is_error\":false,\"output\":\"x\"}\n",
        b"\"}\n",
        b"[1,",
        b"\xff\x00",
        "é".as_bytes(),
    ];
    (0..dice.random_range(0..40)).flat_map(|_| words[dice.random_range(0..words.len())].to_vec()).collect()
}

#[test]
fn no_bytes_break_the_reading_of_any_kind_and_the_same_bytes_read_the_same() {
    let streams = [
        FrameStream::Stdout,
        FrameStream::Stdout,
        FrameStream::Stderr,
        FrameStream::Keeper,
        FrameStream::Stdin,
    ];
    for adapter in adapters::registry() {
        let mut dice = StdRng::seed_from_u64(11);
        for _ in 0..200 {
            let frames: Vec<Frame> = (0..dice.random_range(1..12))
                .map(|number| frame(number, streams[dice.random_range(0..streams.len())], &babble(&mut dice)))
                .collect();
            let first = all(&mut fold(adapter.kind()), &frames);
            assert_eq!(first, all(&mut fold(adapter.kind()), &frames), "{}", adapter.kind());
            let broke =
                |what: &What| matches!(what, What::Error { error } if error.message.contains("broke over"));
            assert!(!first.iter().any(broke), "{}: {frames:?}", adapter.kind());
        }
    }
}

/// The lines that a real program printed, a frame each.
fn recorded(folder: &str, case: &str) -> Vec<Frame> {
    let captures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../adapters/tests/captures").join(folder);
    let printed = std::fs::read(captures.join(format!("{case}.stdout"))).expect("a recording");
    let lines = printed.split_inclusive(|byte| *byte == b'\n');
    (1..).zip(lines).map(|(number, line)| frame(number, FrameStream::Stdout, line)).collect()
}

#[test]
fn calls_of_real_programs_are_joined_with_their_results_and_those_that_were_killed_have_none() {
    let programs = [
        ("claude_local", "claude-2.1.197"),
        ("claude_local", "claude-2.1.316"),
        ("claude_local", "claude-2.1.329"),
        ("codex_local", "codex"),
        ("gemini_local", "gemini"),
        ("opencode_local", "opencode"),
        ("pi_local", "pi"),
        ("qwen", "qwen"),
    ];
    for (kind, folder) in programs {
        let said = all(&mut fold(kind), &recorded(folder, "tool"));
        let tools: Vec<&What> = said.iter().filter(|what| matches!(what, What::Tool { .. })).collect();
        assert!(!tools.is_empty(), "{folder}: {said:?}");
        for tool in tools {
            let is_joined = matches!(tool, What::Tool { name: Some(_), result: Some(result), .. }
                if result.millis.is_some());
            assert!(is_joined, "{folder}: {tool:?}");
        }
    }
    for (kind, folder) in [("codex_local", "codex"), ("gemini_local", "gemini")] {
        let said = all(&mut fold(kind), &recorded(folder, "toolrun_kill"));
        let lost = |what: &&What| matches!(what, What::Tool { name: Some(_), result: None, .. });
        assert_eq!(said.iter().filter(lost).count(), 1, "{folder}: {said:?}");
    }
}
