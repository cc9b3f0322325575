//! Reading the log of a run in parts.

use engine::FrameStream::{self, Keeper, Stderr, Stdin, Stdout};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::{Value, json};

use crate::stage::Stage;

/// The lines of a content: stream and chunk.
fn lines(part: &Value) -> Vec<(String, String)> {
    let content = part["content"].as_str().unwrap();
    assert!(content.is_empty() || content.ends_with('\n'));
    let read = |line: &str| {
        let line: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error} in {line}"));
        assert!(line["ts"].is_string());
        (line["stream"].as_str().unwrap().to_owned(), line["chunk"].as_str().unwrap().to_owned())
    };
    content.lines().map(read).collect()
}

fn text(parts: &[Value], stream: &str) -> String {
    parts.iter().flat_map(lines).filter(|(of, _)| of == stream).map(|(_, chunk)| chunk).collect()
}

#[tokio::test]
async fn a_log_is_read_in_whole_lines_and_says_when_it_is_over() {
    let stage = Stage::new().await;
    let (company, _, run) = stage.with_run().await;
    let read = async |offset: &Value| {
        let answer = stage.get(&format!("/api/heartbeat-runs/{run}/log?offset={offset}")).await;
        assert_eq!(answer.header("cache-control"), Some("no-cache, no-store"));
        answer.good()
    };
    stage.puppets.say(&run, Keeper, b"{\"note\":\"exec\"}");
    stage.puppets.say(&run, Stdout, b"one\ntw");
    let first = read(&json!(0)).await;
    assert_eq!(lines(&first), [("stdout".into(), "one\n".into())]);
    assert_eq!(
        (&first["runId"], &first["store"], &first["endOfLog"]),
        (&json!(run), &json!("local_file"), &json!(false))
    );
    assert_eq!(first["logRef"], format!("{run}/1"));
    let nothing = read(&first["nextOffset"]).await;
    assert_eq!((&nothing["content"], &nothing["nextOffset"]), (&json!(""), &first["nextOffset"]));
    stage.puppets.say(&run, Stderr, b"oops\n");
    stage.puppets.say(&run, Stdout, b"o\nthree");
    let second = read(&first["nextOffset"]).await;
    assert_eq!(lines(&second), [("stderr".into(), "oops\n".into()), ("stdout".into(), "two\n".into())]);
    stage.puppets.end(&run, 0);
    assert_eq!(stage.over(&company, &run).await, "succeeded");
    let last = read(&second["nextOffset"]).await;
    assert_eq!(
        (lines(&last), &last["endOfLog"]),
        (vec![("stdout".to_owned(), "three".to_owned())], &json!(true))
    );
    let behind = read(&last["nextOffset"]).await;
    assert_eq!(
        (&behind["content"], &behind["endOfLog"], &behind["nextOffset"]),
        (&json!(""), &json!(true), &last["nextOffset"])
    );
    // From the start it is the same text, also without the prefix that some clients leave out.
    let whole = stage.get(&format!("/heartbeat-runs/{run}/log")).await.good();
    assert_eq!(text(std::slice::from_ref(&whole), "stdout"), "one\ntwo\nthree");
    assert_eq!(whole["endOfLog"], true);
    stage.end().await;
}

#[tokio::test]
async fn stdin_and_notes_are_told_to_those_who_ask() {
    let stage = Stage::new().await;
    let (_, _, run) = stage.with_run().await;
    stage.puppets.say(&run, Keeper, b"{\"note\":\"exec\"}");
    stage.puppets.say(&run, Stdin, b"hello\n");
    stage.puppets.say(&run, Stdout, b"hi\n");
    let plain = stage.get(&format!("/api/heartbeat-runs/{run}/log")).await.good();
    assert_eq!(lines(&plain).len(), 1);
    let all = stage.get(&format!("/api/heartbeat-runs/{run}/log?system=1")).await.good();
    let streams: Vec<String> = lines(&all).into_iter().map(|(stream, _)| stream).collect();
    assert_eq!(streams, ["system", "stdin", "stdout"]);
    stage.end().await;
}

#[tokio::test]
async fn before_there_is_a_log_it_is_not_found_and_bad_offsets_are_refused() {
    let stage = Stage::new().await;
    let company = stage.company("Acme").await;
    let agent = stage.agent(&company, "Engineer", 1).await;
    let run = stage.wake(&agent, "a").await;
    let queued = stage.wake(&agent, "b").await;
    stage.started(&run).await;
    let refusal = stage.get(&format!("/api/heartbeat-runs/{queued}/log")).await.refusal();
    assert_eq!((refusal.0, refusal.2.as_str()), (404, "Run log not found"));
    stage.puppets.say(&run, Stdout, b"some text\n");
    for offset in ["65", "-1", "x", "1099511627776", "99999999999999999999"] {
        let answer = stage.get(&format!("/api/heartbeat-runs/{run}/log?offset={offset}")).await;
        assert_eq!((answer.status, answer.refusal().1.as_str()), (400, "bad_offset"), "{offset}");
        assert!(answer.json()["hint"].as_str().unwrap().contains("nextOffset"));
        let stream = stage.get(&format!("/api/heartbeat-runs/{run}/log/stream?offset={offset}")).await;
        assert_eq!(stream.status, 400, "{offset}");
    }
    stage.end().await;
}

/// Prints random text in random pieces.
pub(crate) fn babble(stage: &Stage, run: &str, dice: &mut StdRng, pieces: usize) {
    const WORDS: [&str; 8] = ["a", "long word ", "é", "€", "🦀", "\n", "\n", "\r\n"];
    let mut said: [Vec<u8>; 2] = Default::default();
    let mut last = 0;
    for _ in 0..pieces {
        let which = if dice.random_bool(0.8) { last } else { 1 - last };
        last = which;
        for _ in 0..dice.random_range(1..20) {
            said[which].extend_from_slice(WORDS[dice.random_range(0..WORDS.len())].as_bytes());
        }
        // Some bytes stay behind, so that pieces end anywhere.
        let keep = dice.random_range(0..4).min(said[which].len());
        let rest = said[which].split_off(said[which].len() - keep);
        let stream = [Stdout, Stderr][which];
        stage.puppets.say(run, stream, &said[which]);
        said[which] = rest;
    }
    for (stream, rest) in [Stdout, Stderr].into_iter().zip(said) {
        stage.puppets.say(run, stream, &rest);
    }
}

pub(crate) fn said(stage: &Stage, run: &str, stream: FrameStream) -> String {
    let frames = stage.puppets.frames(run);
    let bytes: Vec<u8> =
        frames.iter().filter(|frame| frame.stream == stream).flat_map(|frame| frame.bytes.clone()).collect();
    String::from_utf8(bytes).unwrap()
}

#[tokio::test]
async fn parts_of_any_size_give_the_whole_log_and_end_with_whole_lines() {
    let stage = Stage::new().await;
    let (company, _, run) = stage.with_run().await;
    let mut dice = StdRng::seed_from_u64(7);
    babble(&stage, &run, &mut dice, 400);
    stage.puppets.end(&run, 0);
    stage.over(&company, &run).await;
    for limit in [1, 100, 1000, 16_384, 256_000] {
        let mut parts = Vec::new();
        let mut offset = json!(0);
        loop {
            let path = format!("/api/heartbeat-runs/{run}/log?limitBytes={limit}&offset={offset}");
            let part = stage.get(&path).await.good();
            let is_over = part["endOfLog"] == true;
            assert!(is_over || part["nextOffset"] != offset, "it goes on");
            offset = part["nextOffset"].clone();
            if !is_over {
                for stream in ["stdout", "stderr"] {
                    let text = text(std::slice::from_ref(&part), stream);
                    assert!(text.is_empty() || text.ends_with('\n'), "{limit}: {text:?}");
                }
                // More than was asked for only when it is a single frame, or the line it completes.
                let size = part["content"].as_str().unwrap().len();
                assert!(
                    size <= limit || lines(&part).len() == 1,
                    "{limit}: {size} in {}",
                    lines(&part).len()
                );
            }
            parts.push(part);
            if is_over {
                break;
            }
        }
        assert_eq!(text(&parts, "stdout"), said(&stage, &run, Stdout), "{limit}");
        assert_eq!(text(&parts, "stderr"), said(&stage, &run, Stderr), "{limit}");
    }
    stage.end().await;
}

#[tokio::test]
async fn the_log_of_a_second_process_follows_that_of_the_first() {
    let stage = Stage::new().await;
    let (company, _, run) = stage.with_run().await;
    stage.puppets.say(&run, Stdout, b"no such session");
    let first = stage.get(&format!("/api/heartbeat-runs/{run}/log")).await.good();
    stage.puppets.end(&run, 1);
    stage.over(&company, &run).await;
    // A run whose session was gone: its second process has the second epoch.
    let id = run.clone();
    stage
        .engine
        .store()
        .write(move |tx| {
            let id = id.clone();
            Box::pin(async move {
                tx.run(store::sql!("UPDATE runs SET lease_epoch = 2 WHERE id = $1"), store::p![id]).await
            })
        })
        .await
        .unwrap();
    stage.puppets.pretend(&run, 2);
    stage.puppets.say_as(&run, 2, Stdout, b"fresh\n");
    let whole = stage.get(&format!("/api/heartbeat-runs/{run}/log")).await.good();
    assert_eq!(text(std::slice::from_ref(&whole), "stdout"), "no such sessionfresh\n");
    let rest =
        stage.get(&format!("/api/heartbeat-runs/{run}/log?offset={}", first["nextOffset"])).await.good();
    let both = [first, rest];
    assert_eq!(text(&both, "stdout"), "no such sessionfresh\n");
    assert_eq!(both[1]["endOfLog"], true);
    let end = format!("/api/heartbeat-runs/{run}/log?offset={}", both[1]["nextOffset"]);
    assert_eq!(stage.get(&end).await.good()["content"], "");
    stage.end().await;
}
