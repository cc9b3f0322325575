//! A run that waits says for what, whatever has become of its issue.

use domain::hold::HeldReason;
use domain::issue::IssueStatus;
use domain::run::RunStatus;
use domain::wake::Actor;
use engine::{Settings, Woken};
use serde_json::json;
use testkit::{World, both_stores};

use crate::board::Board;

both_stores! {
    async fn a_run_that_nobody_needs_any_more_waits_for_the_room_in_which_it_is_ended(world) {
        for (slots, max_runs, reason) in [(1, 8, HeldReason::Slot), (2, 1, HeldReason::Capacity)] {
            let engine = world.engine_with(Settings { max_runs, ..world.settings() }).await;
            let company = world.company(&engine).await;
            let board = Board { world: world.clone(), engine, company };
            let by = Actor::local_board();
            let ada = board.engine.create_agent(&board.company, World::scripted(slots), &by).await.unwrap();
            let first = board.quiet("first", IssueStatus::Todo, Some(&ada)).await;
            let second = board.quiet("second", IssueStatus::Todo, Some(&ada)).await;
            let (run, process) = board.running(&ada, &first).await;
            let mut request = World::request("");
            request.context.insert("issueId".to_owned(), json!(second.id));
            let Ok(Woken::Run(waiting)) = board.engine.wake(&ada.id, request).await else { panic!("no run") };
            assert_eq!(waiting.status, RunStatus::Queued);
            board.set_status(&second.id, IssueStatus::Done).await;
            let held = board.engine.held_reasons(&[*waiting.clone()]).await.unwrap();
            assert_eq!(held, [Some(reason)]);
            board.finish((&run, &process)).await;
            let ended = world.over(&waiting.id).await;
            assert_eq!(
                (ended.status, ended.error_code.as_deref()),
                (RunStatus::Cancelled, Some("issue_terminal_status"))
            );
            board.engine.leave().await;
        }
    }

    async fn a_follow_up_that_nobody_needs_any_more_waits_for_the_run_that_it_follows(world) {
        let board = Board::new(&world).await;
        let ada = board.agent("Ada").await;
        let issue = board.quiet("first", IssueStatus::Todo, Some(&ada)).await;
        let (run, process) = board.running(&ada, &issue).await;
        let mut request = World::request("");
        request.context.insert("issueId".to_owned(), json!(issue.id));
        let Ok(Woken::Run(waiting)) = board.engine.wake(&ada.id, request).await else { panic!("no run") };
        assert_eq!(waiting.status, RunStatus::Queued);
        board.set_status(&issue.id, IssueStatus::Done).await;
        let told = board.engine.explain(&waiting.id).await.unwrap();
        assert_eq!(told.held_reason, Some(HeldReason::Running), "{told:?}");
        board.finish((&run, &process)).await;
        let ended = world.over(&waiting.id).await;
        assert_eq!(ended.error_code.as_deref(), Some("issue_terminal_status"));
    }
}
