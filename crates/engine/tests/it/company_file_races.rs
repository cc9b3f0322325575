//! A company file and somebody else at once, or a server that dies over it: nothing is made twice, what somebody changes
//! meanwhile is not overwritten, and the next apply makes the rest.

use std::pin::Pin;
use std::task::{Context, Poll};

use engine::{ApplyAsk, CompanyPatch, EngineError};
use serde_json::{Value as Json, json};
use testkit::both_stores;

use crate::board::Board;
use crate::company_file::{File, everything, told};

/// Goes on with something for so many steps, each until it has to wait; `None`: it was not done by then.
struct Steps<F> {
    of: Pin<Box<F>>,
    left: usize,
}

impl<F: Future> Future for Steps<F> {
    type Output = Option<F::Output>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match self.of.as_mut().poll(context) {
            Poll::Ready(done) => Poll::Ready(Some(done)),
            Poll::Pending if self.left <= 1 => Poll::Ready(None),
            Poll::Pending => {
                self.left -= 1;
                Poll::Pending
            }
        }
    }
}

fn steps<F: Future>(left: usize, of: F) -> Steps<F> {
    Steps { of: Box::pin(of), left }
}

fn small(description: &str) -> Json {
    json!({
        "version": 1, "company": {"name": "Acme"},
        "agents": [{"name": "Ada", "adapterType": "process", "adapterConfig": {"command": "true"}}],
        "goals": [{"title": "Grow", "description": description, "level": "company"}],
    })
}

both_stores! {
    async fn changes_that_nobody_has_looked_at_are_not_made(world) {
        let file = File::new(&world).await;
        let document = json!({"version": 1, "company": {"name": "Acme", "description": "one"}});
        let ask = |expect: Option<String>| ApplyAsk { document: document.clone(), dry_run: expect.is_none(), expect, ..ApplyAsk::default() };
        let looked = file.ask(&file.0.company, ask(None)).await.unwrap();
        let patch = CompanyPatch { description: Some(Some("two".to_owned())), ..CompanyPatch::default() };
        file.0.engine.patch_company(&file.0.company, patch, &Board::person()).await.unwrap();
        let refused = file.ask(&file.0.company, ask(Some(looked.fingerprint))).await.unwrap_err();
        assert!(matches!(refused, EngineError::Conflict { .. }), "{refused:?}");
        let looked = file.ask(&file.0.company, ask(None)).await.unwrap();
        assert!(file.ask(&file.0.company, ask(Some(looked.fingerprint))).await.unwrap().is_done);
    }

    async fn what_somebody_changes_meanwhile_is_not_overwritten(world) {
        let file = File::new(&world).await;
        let mut conflicts = 0;
        for left in 1..400 {
            let board = file.0.neighbour().await;
            let ask = |description: &str| ApplyAsk { document: small(description), ..ApplyAsk::default() };
            file.ask(&board.company, ask("one")).await.unwrap();
            let goal = board.engine.goals(&board.company, None, 1).await.unwrap().remove(0);
            let mut edited = ask("two");
            edited.document["agents"][0]["title"] = json!("Chief");
            edited.document["agents"].as_array_mut().unwrap().push(
                json!({"name": "Bob", "adapterType": "process", "adapterConfig": {"command": "true"}}));
            let mut applying = steps(left, file.ask(&board.company, edited));
            let early = (&mut applying).await;
            let patch = engine::GoalPatch { level: Some("team".to_owned()), ..engine::GoalPatch::default() };
            board.engine.patch_goal(&goal.id, patch, &Board::person()).await.unwrap();
            let is_over = early.is_some();
            applying.left = usize::MAX;
            let applied = match early { Some(applied) => applied, None => applying.await.unwrap() };
            let now = board.engine.goal(&goal.id).await.unwrap();
            match applied {
                Ok(applied) => {
                    let was_planned = told(&applied).iter().any(|line| line.starts_with("change goal Grow") && line.contains("level"));
                    assert!(now.level == "team" || was_planned, "after {left} steps: {:?}", told(&applied));
                }
                Err(EngineError::Conflict { message, .. }) => {
                    assert!(message.contains("Grow"), "{message}");
                    assert_eq!((now.level.as_str(), now.description.as_deref()), ("team", Some("one")));
                    conflicts += 1;
                }
                Err(other) => panic!("after {left} steps: {other:?}"),
            }
            if is_over {
                assert!(conflicts > 0, "it was never changed in between");
                return;
            }
        }
        panic!("it never ended");
    }

    async fn two_that_apply_one_file_at_once_make_everything_once(world) {
        let file = File::new(&world).await;
        let ask = || ApplyAsk { document: everything(), ..ApplyAsk::default() };
        let (one, other) = tokio::join!(file.ask(&file.0.company, ask()), file.ask(&file.0.company, ask()));
        let mut made = [told(&one.unwrap()).len(), told(&other.unwrap()).len()];
        made.sort_unstable();
        assert_eq!(made, [0, 22]);
        file.is_settled("after two at once").await;
    }

    async fn two_servers_that_apply_one_file_at_once_make_everything_once(world) {
        let file = File::new(&world).await;
        let second = file.0.world.engine().await;
        let document = json!({
            "version": 1,
            "environments": [{"name": "Box", "driver": "ssh",
                "config": {"host": "h", "username": "me", "remoteWorkspacePath": "/srv"}}],
            "agents": [{"name": "Ada", "adapterType": "process", "adapterConfig": {"command": "true"}},
                       {"name": "東京", "adapterType": "process", "adapterConfig": {"command": "true"}}],
            "goals": [{"title": "Grow"}],
            "projects": [{"name": "Web site"}, {"name": "Büro"}],
            "webhooks": [{"url": "https://hooks.example/in", "events": ["*"]}],
        });
        let (ask, by) = (ApplyAsk { document: document.clone(), ..ApplyAsk::default() }, Board::person());
        let both = tokio::join!(
            file.ask(&file.0.company, ask.clone()),
            second.apply_company_file(&file.0.company, &ask, &by),
        );
        let mut done = 0;
        for applied in [both.0, both.1] {
            match applied {
                Ok(_) => done += 1,
                Err(EngineError::Conflict { message, .. } | EngineError::Refused { message, .. }) => {
                    assert!(message.contains("apply again"), "{message}");
                }
                Err(other) => panic!("{other:?}"),
            }
        }
        // Both may have been stopped by each other, and neither makes anything twice.
        assert_eq!(told(&file.apply(&document).await).is_empty(), done > 0);
        let exported = file.export().await;
        for (section, field, names) in [
            ("environments", "name", &["Box", "Local"][..]), ("agents", "name", &["Ada", "東京"]), ("goals", "title", &["Grow"]),
            ("projects", "name", &["Büro", "Web site"]), ("webhooks", "url", &["https://hooks.example/in"]),
        ] {
            let mut found: Vec<&str> = exported[section].as_array().unwrap().iter().map(|it| it[field].as_str().unwrap()).collect();
            found.sort_unstable();
            assert_eq!(found, names);
        }
        assert_eq!(file.0.engine.webhooks(&file.0.company).await.unwrap().len(), 1);
    }

    async fn what_was_stopped_in_the_middle_is_mended_by_applying_again(world) {
        let file = File::new(&world).await;
        let whole = everything();
        // What a crash leaves: some of the changes, in their order. Each beginning of the file is such a rest.
        let sections = ["company", "labels", "skills", "environments", "agents", "goals", "projects"];
        for upto in [2, 4, 5, 7] {
            let mut part = json!({"version": 1});
            for section in &sections[..upto] {
                part[*section] = whole[*section].clone();
            }
            if upto == 5 {
                part["agents"].as_array_mut().unwrap().truncate(2);
            }
            file.apply(&part).await;
        }
        file.apply(&whole).await;
        assert_eq!(told(&file.apply(&whole).await), Vec::<String>::new());
        file.is_settled("after all was mended").await;
    }

    async fn an_apply_that_is_killed_anywhere_is_mended_by_the_next(world) {
        let file = File::new(&world).await;
        let patch = || CompanyPatch { require_approval: Some(true), ..CompanyPatch::default() };
        let mut document = small("More");
        document["company"]["requireBoardApprovalForNewAgents"] = json!(true);
        for left in 1..400 {
            let board = file.0.neighbour().await;
            board.engine.patch_company(&board.company, patch(), &Board::person()).await.unwrap();
            let ask = ApplyAsk { document: document.clone(), ..ApplyAsk::default() };
            let killed = steps(left, file.ask(&board.company, ask.clone())).await;
            // What was under way when it was killed may be made a moment later.
            let mut again = file.ask(&board.company, ask.clone()).await;
            for _ in 0..3 {
                if matches!(again, Err(EngineError::Conflict { .. })) {
                    again = file.ask(&board.company, ask.clone()).await;
                }
            }
            assert!(again.is_ok(), "after {left} steps: {again:?}");
            assert_eq!(told(&file.ask(&board.company, ask).await.unwrap()), Vec::<String>::new());
            let exported = board.engine.export_company(&board.company).await.unwrap();
            assert_eq!(exported["agents"].as_array().unwrap().len(), 1, "after {left} steps");
            let asked = board.engine.approvals(&board.company, None, None, 10).await.unwrap();
            let statuses: Vec<&str> = asked.iter().map(|approval| approval.status.as_str()).collect();
            assert_eq!(statuses, ["approved"], "after {left} steps");
            if killed.is_some() {
                assert!(left > 3, "it was never stopped");
                return;
            }
        }
        panic!("it never ended");
    }
}
