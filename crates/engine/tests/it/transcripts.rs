//! What the agent of a run said and did, read out of its log: the same while it runs and after, in pages of
//! any size.

use std::time::{Duration, Instant};

use domain::run::RunStatus;
use domain::telling::{AgentError, AgentEvent, ErrorClass, Usage};
use engine::{AgentDraft, Engine, FrameStream, Item, Mark, ProcessId, TranscriptPage, What};
use serde_json::json;
use testkit::{World, both_stores};

use domain::ids::RunId;

async fn page(world: &World, engine: &Engine, run: &RunId, after: Mark, limit: usize) -> TranscriptPage {
    engine.transcript(&world.run(run).await, after, limit).await.unwrap()
}

/// All items behind a mark that there are now, in pages of a size, and the last page.
async fn all(
    world: &World,
    engine: &Engine,
    run: &RunId,
    after: Mark,
    size: usize,
) -> (Vec<Item>, TranscriptPage) {
    let (mut items, mut after) = (Vec::new(), after);
    loop {
        let mut page = page(world, engine, run, after, size).await;
        assert!(page.items.len() <= size);
        items.append(&mut page.items);
        if page.is_over || page.next == after {
            return (items, page);
        }
        after = page.next;
    }
}

/// What an item says, in short.
fn told(item: &Item) -> String {
    let text = match &item.what {
        What::Message { text } => format!("message {}", text.text),
        What::Tool { name, result, .. } => {
            let result = result.as_ref().map_or("nothing".to_owned(), |result| {
                format!("{:?} after {:?} ms", result.output.text, result.millis)
            });
            format!("tool {} gave {result}", name.as_deref().unwrap_or("?"))
        }
        What::Usage { usage, is_total } => {
            format!("usage {} {} {is_total}", usage.input_tokens, usage.output_tokens)
        }
        What::Error { error } => format!("error {} {}", error.class, error.message),
        What::Session { id } => format!("session {id}"),
        What::Result { error, summary, .. } => {
            format!("result {} {:?}", error.is_none(), summary.as_ref().map(|summary| &summary.text))
        }
        What::Output { stream, text } => format!("output {stream:?} {}", text.text.trim_end()),
    };
    format!("{}/{} {text}", item.attempt, item.seq.map_or("-".to_owned(), |seq| seq.to_string()))
}

fn texts(items: &[Item]) -> Vec<String> {
    items.iter().map(told).collect()
}

fn call(id: &str, name: &str) -> AgentEvent {
    AgentEvent::ToolCall { id: id.into(), name: name.into(), input: json!({"command": "ls"}) }
}

fn result(id: &str, output: &str) -> AgentEvent {
    AgentEvent::ToolResult { id: id.into(), is_error: false, output: output.into() }
}

both_stores! {
    async fn a_transcript_says_the_same_while_the_run_goes_on_and_after(world) {
        let engine = world.engine().await;
        let agent = world.agent(&engine, 1).await;
        let (run, process) = world.start(&engine, &agent.id, "a").await;
        world.model.keep_time(world.clock.clone());
        let model = &world.model;
        model.say_session(&process, "s-1");
        model.say_message(&process, "let me look");
        model.say(&process, &call("1", "bash"));
        model.say(&process, &call("2", "read"));
        let (early, last) = all(&world, &engine, &run.id, Mark::START, 100).await;
        assert_eq!(texts(&early), ["1/1 session s-1", "1/2 message let me look"]);
        assert_eq!(texts(&last.under_way), ["1/- tool bash gave nothing", "1/- tool read gave nothing"]);
        assert!(last.has_log && !last.is_over);
        let halfway = last.next;
        world.clock.advance(Duration::from_millis(1500));
        model.say(&process, &result("2", "text"));
        model.say(&process, &result("9", "from nowhere"));
        model.say_session(&process, "s-1");
        model.err(&process, "a warning\nanother\n");
        model.say_usage(&process, 10, 5, 7);
        let (class, message) = (ErrorClass::Transient, "busy".to_owned());
        let error = AgentError { class, message, code: None, not_before: None };
        model.say(&process, &AgentEvent::Trouble { error });
        let usage = Usage { input_tokens: 30, ..Usage::default() };
        model.say(&process, &AgentEvent::UsageTotal { usage });
        let (middle, _) = all(&world, &engine, &run.id, halfway, 2).await;
        model.say_done(&process);
        model.print(&process, "no line end");
        model.exit(&process, 0);
        assert_eq!(world.over(&run.id).await.status, RunStatus::Succeeded);
        // An engine that has no reading at hand says the same, from any cursor and in any size.
        engine.leave().await;
        let engine = world.engine().await;
        let (whole, last) = all(&world, &engine, &run.id, Mark::START, 100).await;
        assert_eq!(
            texts(&whole),
            [
                "1/1 session s-1",
                "1/2 message let me look",
                "1/3 tool read gave \"text\" after Some(1500) ms",
                "1/4 tool ? gave \"from nowhere\" after None ms",
                "1/5 output Stderr a warning\nanother",
                "1/6 usage 10 5 false",
                "1/7 error transient busy",
                "1/8 usage 30 0 true",
                "1/9 result true Some(\"done\")",
                "1/10 message no line end",
                "1/11 tool bash gave nothing",
            ]
        );
        assert!(last.is_over && last.under_way.is_empty());
        assert_eq!([&early[..], &middle[..]].concat(), whole[..8], "what was given while it ran");
        for size in 1..=12 {
            assert_eq!(all(&world, &engine, &run.id, Mark::START, size).await.0, whole, "pages of {size}");
        }
        assert_eq!(all(&world, &engine, &run.id, halfway, 3).await.0, whole[2..]);
        // Behind the end there is nothing, however often it is asked.
        let behind = page(&world, &engine, &run.id, last.next, 10).await;
        assert_eq!((behind.items.len(), behind.is_over, behind.next), (0, true, last.next));
    }

    async fn the_processes_of_a_run_follow_one_another(world) {
        let engine = world.engine().await;
        let agent = world.agent(&engine, 1).await;
        let (before, process) = world.start(&engine, &agent.id, "a").await;
        world.model.say_session(&process, "old");
        world.model.say_done(&process);
        world.model.exit(&process, 0);
        world.over(&before.id).await;
        let (run, first) = world.start(&engine, &agent.id, "a").await;
        world.model.say(&first, &call("1", "bash"));
        world.model.say_failed(&first, ErrorClass::SessionGone, None);
        let (early, last) = all(&world, &engine, &run.id, Mark::START, 1).await;
        assert_eq!(texts(&early), ["1/1 result false None"]);
        world.model.exit(&first, 1);
        let second = ProcessId { run: run.id.clone(), epoch: 2 };
        world.model.until_alive(&second).await;
        world.model.say_session(&second, "new");
        world.model.say(&second, &call("1", "read"));
        let (more, last) = all(&world, &engine, &run.id, last.next, 10).await;
        assert_eq!(texts(&more), ["1/2 tool bash gave nothing", "2/3 session new"]);
        assert_eq!(texts(&last.under_way), ["2/- tool read gave nothing"]);
        world.model.say(&second, &result("1", "x"));
        world.model.say_done(&second);
        world.model.exit(&second, 0);
        world.over(&run.id).await;
        let (whole, _) = all(&world, &engine, &run.id, Mark::START, 100).await;
        assert_eq!([early, more].concat(), whole[..3]);
        assert_eq!(
            whole[3..].iter().map(|item| (item.attempt, item.seq)).collect::<Vec<_>>(),
            [(2, Some(4)), (2, Some(5))]
        );
        for size in 1..=6 {
            assert_eq!(all(&world, &engine, &run.id, Mark::START, size).await.0, whole);
        }
    }

    async fn usage_of_a_resumed_session_is_the_runs_own_also_when_it_is_read_again(world) {
        let engine = world.engine().await;
        let draft = AgentDraft {
            name: "Codex".to_owned(),
            adapter_type: "codex_local".to_owned(),
            adapter_config: json!({ "command": "/bin/true", "cwd": "/tmp" }),
            ..AgentDraft::default()
        };
        let agent = world.agent_like(&engine, draft).await;
        let thread = "01a1faf0-10ff-7372-8508-ed199ead7e6b";
        let play = |process: &ProcessId, input: u64| {
            for line in [
                json!({"type": "thread.started", "thread_id": thread}),
                json!({"type": "turn.started"}),
                json!({"type": "turn.completed", "usage": {
                    "input_tokens": input, "cached_input_tokens": 0, "output_tokens": input / 100}}),
            ] {
                world.model.print(process, &format!("{line}\n"));
            }
            world.model.exit(process, 0);
        };
        let (first, process) = world.start(&engine, &agent.id, "a").await;
        play(&process, 1000);
        world.over(&first.id).await;
        world.clock.advance(Duration::from_secs(1));
        let (second, process) = world.start(&engine, &agent.id, "a").await;
        assert_eq!(world.run(&second.id).await.session_before.as_deref(), Some(thread));
        play(&process, 2500);
        let row = world.over(&second.id).await;
        assert_eq!(row.usage.as_ref().unwrap()["inputTokens"], json!(1500));
        for (run, input, output) in [(&first, 1000, 10), (&second, 1500, 15)] {
            let (items, _) = all(&world, &engine, &run.id, Mark::START, 100).await;
            let used: Vec<_> = items
                .iter()
                .filter_map(|item| match &item.what {
                    What::Usage { usage, .. } => Some((usage.input_tokens, usage.output_tokens)),
                    _ => None,
                })
                .collect();
            assert_eq!(used, [(input, output)], "{items:?}");
        }
    }

    async fn a_program_that_nobody_understands_is_shown_as_it_is(world) {
        let engine = world.engine().await;
        let agent = world.agent_like(&engine, World::plain(1)).await;
        let (run, process) = world.start(&engine, &agent.id, "a").await;
        let none = page(&world, &engine, &run.id, Mark::START, 10).await;
        assert_eq!((none.items.len(), none.is_over), (0, false));
        let long = "é".repeat(20_000);
        world.model.print(&process, "one\ntw");
        world.model.print(&process, &format!("o\n{long}\nthree"));
        world.model.exit(&process, 0);
        world.over(&run.id).await;
        let (items, _) = all(&world, &engine, &run.id, Mark::START, 10).await;
        let output = |item: &Item| match &item.what {
            What::Output { stream: FrameStream::Stdout, text } => (text.text.clone(), text.left_out),
            other => panic!("{other:?}"),
        };
        let outputs: Vec<_> = items.iter().map(output).collect();
        assert_eq!(outputs[0], ("one\n".to_owned(), 0));
        assert_eq!(outputs[1], ("two\n".to_owned(), 0));
        assert_eq!(outputs[2].0.len() as u64 + outputs[2].1, 40_001);
        assert!(outputs[2].0.len() <= 16 << 10);
        assert_eq!((outputs[3].clone(), outputs.len()), (("three\n".to_owned(), 0), 4));
    }

    async fn a_page_is_small_however_much_was_said(world) {
        let engine = world.engine().await;
        let agent = world.agent(&engine, 1).await;
        let (run, process) = world.start(&engine, &agent.id, "a").await;
        let long = "word ".repeat(100_000);
        for number in 0..40 {
            world.model.say_message(&process, &format!("{number} {long}"));
            world.model.say(&process, &call(&number.to_string(), "bash"));
            world.model.say(&process, &result(&number.to_string(), &long));
        }
        let first = page(&world, &engine, &run.id, Mark::START, 1000).await;
        assert!(first.items.len() < 40 && first.under_way.is_empty(), "{}", first.items.len());
        let (items, _) = all(&world, &engine, &run.id, Mark::START, 1000).await;
        assert_eq!(items.len(), 80);
        for item in &items {
            let (text, most) = match &item.what {
                What::Message { text } => (text, 64 << 10),
                What::Tool { result: Some(result), .. } => (&result.output, 16 << 10),
                other => panic!("{other:?}"),
            };
            assert!(text.text.len() <= most && text.text.len() as u64 + text.left_out >= 500_000);
        }
    }

    async fn calls_that_never_get_a_result_do_not_pile_up(world) {
        let engine = world.engine().await;
        let agent = world.agent(&engine, 1).await;
        let (run, process) = world.start(&engine, &agent.id, "a").await;
        for number in 0..300 {
            world.model.say(&process, &call(&number.to_string(), "bash"));
        }
        // The same id again: the first call got no result.
        world.model.say(&process, &call("299", "read"));
        let (items, last) = all(&world, &engine, &run.id, Mark::START, 100).await;
        assert_eq!((items.len(), last.under_way.len()), (45, 256));
    }

    async fn a_long_transcript_is_paged_through_in_the_time_of_one_reading(world) {
        const EVENTS: usize = 16_000;
        let engine = world.engine().await;
        let agent = world.agent(&engine, 1).await;
        let (run, process) = world.start(&engine, &agent.id, "a").await;
        // 50 MiB: more of it than is shown is in the results of tools.
        let long = "x".repeat(9_600);
        for number in 0..EVENTS / 3 {
            let id = number.to_string();
            world.model.say_message(&process, "going on");
            world.model.say(&process, &call(&id, "bash"));
            world.model.say(&process, &result(&id, &long));
        }
        world.model.say_done(&process);
        world.model.exit(&process, 0);
        world.over(&run.id).await;
        let count = EVENTS / 3 * 2 + 1;
        let mut spans = Vec::new();
        for size in [1000, 200, 50] {
            let began = Instant::now();
            let (items, _) = all(&world, &engine, &run.id, Mark::START, size).await;
            spans.push(began.elapsed());
            assert_eq!(items.len(), count);
        }
        println!("{EVENTS} events in pages of 1000, 200 and 50: {spans:?}");
        // Reading from the start for each of the 213 small pages would take a hundred times as long as once.
        assert!(spans[2] < spans[0] * 10 + Duration::from_secs(1), "{spans:?}");
    }
}
