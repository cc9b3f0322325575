//! Subscriptions: each entry once and in order, over reconnects, for slow readers too.

use engine::{Engine, Happening, Heard, Subscription};
use store::agents::Agent;
use store::events;
use testkit::{World, both_stores, patience};

async fn next(subscription: &mut Subscription) -> Heard {
    tokio::time::timeout(patience(), subscription.next()).await.expect("something comes").unwrap()
}

async fn next_event(subscription: &mut Subscription) -> i64 {
    loop {
        match next(subscription).await {
            Heard::Happening(Happening::Event(event)) => return event.id,
            Heard::Happening(Happening::Line(_)) => {}
            other => panic!("no event: {other:?}"),
        }
    }
}

/// Appends to the log, as another server would.
async fn append(world: &World, agent: &Agent, count: usize) {
    let company = agent.company_id.clone();
    world
        .store
        .write(move |tx| {
            let company = company.clone();
            Box::pin(async move {
                for number in 0..count {
                    events::append(tx, company.as_str(), "test", &format!("{{\"n\":{number}}}"), 1).await?;
                }
                Ok(())
            })
        })
        .await
        .unwrap();
}

async fn live(world: &World, engine: &Engine, agent: &Agent) {
    let (run, process) = world.start(engine, &agent.id, "a").await;
    world.model.say_done(&process);
    world.model.exit(&process, 0);
    world.over(&run.id).await;
}

both_stores! {
    async fn a_subscriber_that_comes_back_goes_on_where_it_was(world) {
        let engine = world.engine().await;
        let agent = world.agent(&engine, 1).await;
        let mut subscription = engine.subscribe(&agent.company_id, Some(0)).await.unwrap();
        let mut heard = Vec::new();
        for _ in 0..4 {
            live(&world, &engine, &agent).await;
            for _ in 0..3 {
                heard.push(next_event(&mut subscription).await);
            }
            let cursor = subscription.cursor();
            assert_eq!(heard.last(), Some(&cursor));
            drop(subscription);
            // Something happens while nobody listens.
            live(&world, &engine, &agent).await;
            subscription = engine.subscribe(&agent.company_id, Some(cursor)).await.unwrap();
        }
        append(&world, &agent, 1).await;
        engine.nudge();
        let log = world
            .eventually("the whole log", || async {
                let log = world.company_events(&agent.company_id).await;
                log.last().is_some_and(|last| last.kind == "test").then_some(log)
            })
            .await;
        while heard.len() < log.len() {
            heard.push(next_event(&mut subscription).await);
        }
        assert_eq!(heard, log.iter().map(|event| event.id).collect::<Vec<_>>());
    }

    async fn a_subscriber_that_is_too_slow_is_told_where_to_go_on(world) {
        let engine = world.engine().await;
        let agent = world.agent(&engine, 1).await;
        let mut slow = engine.subscribe(&agent.company_id, None).await.unwrap();
        let mut quick = engine.subscribe(&agent.company_id, None).await.unwrap();
        append(&world, &agent, 10).await;
        engine.nudge();
        let mut by_slow = Vec::new();
        let mut by_quick = Vec::new();
        for _ in 0..10 {
            by_slow.push(next_event(&mut slow).await);
            by_quick.push(next_event(&mut quick).await);
        }
        for portion in 1..=6 {
            append(&world, &agent, 1000).await;
            engine.nudge();
            while by_quick.len() < 10 + portion * 1000 {
                by_quick.push(next_event(&mut quick).await);
            }
        }
        let cursor = loop {
            match next(&mut slow).await {
                Heard::Lagged { cursor } => break cursor,
                Heard::Happening(Happening::Event(event)) => by_slow.push(event.id),
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(by_slow.last(), Some(&cursor));
        let mut slow = engine.subscribe(&agent.company_id, Some(cursor)).await.unwrap();
        while by_slow.len() < 6010 {
            by_slow.push(next_event(&mut slow).await);
        }
        assert_eq!(by_slow, by_quick);
    }

    async fn events_of_other_companies_are_not_heard(world) {
        let engine = world.engine().await;
        let (mine, other) = (world.agent(&engine, 1).await, world.agent(&engine, 1).await);
        let mut subscription = engine.subscribe(&mine.company_id, None).await.unwrap();
        append(&world, &other, 5).await;
        append(&world, &mine, 1).await;
        engine.nudge();
        let heard = next(&mut subscription).await;
        let Heard::Happening(Happening::Event(event)) = heard else { panic!("{heard:?}") };
        assert_eq!(event.company_id, mine.company_id.0);
    }

    async fn output_is_told_as_it_comes_and_not_again_after_a_restart(world) {
        let engine = world.engine().await;
        let agent = world.agent(&engine, 1).await;
        let (run, process) = world.start(&engine, &agent.id, "a").await;
        let mut subscription = engine.subscribe(&agent.company_id, None).await.unwrap();
        let line = async |subscription: &mut Subscription| loop {
            if let Heard::Happening(Happening::Line(piece)) = next(subscription).await {
                return piece.payload.clone();
            }
        };
        world.model.print(&process, "one\n");
        let told = line(&mut subscription).await;
        assert_eq!((told["chunk"].as_str(), told["stream"].as_str()), (Some("one\n"), Some("stdout")));
        let up_to = told["nextOffset"].as_i64().unwrap();
        // What people wait for is saved soon, with the offset that it was read at.
        world.model.say_session(&process, "s");
        let told = line(&mut subscription).await;
        assert_eq!(told["offset"].as_i64(), Some(up_to));
        world.run_until(&run.id, "saved", |run| run.session_after.is_some()).await;
        engine.leave().await;
        while !matches!(next(&mut subscription).await, Heard::Closed) {}

        let engine = world.engine().await;
        let mut subscription = engine.subscribe(&agent.company_id, None).await.unwrap();
        world.run_until(&run.id, "taken over", |row| row.lease_holder > run.lease_holder).await;
        world.model.print(&process, "two\n");
        let told = line(&mut subscription).await;
        assert_eq!(told["chunk"].as_str(), Some("two\n"));
    }
}

both_stores! {
    async fn a_cursor_of_another_store_is_refused_and_the_head_is_not(world) {
        let engine = world.engine().await;
        let agent = world.agent(&engine, 1).await;
        append(&world, &agent, 1).await;
        let mut subscription = engine.subscribe(&agent.company_id, Some(0)).await.unwrap();
        let head = next_event(&mut subscription).await;
        engine.subscribe(&agent.company_id, Some(head)).await.unwrap();
        let ahead = engine.subscribe(&agent.company_id, Some(i64::MAX)).await;
        assert!(matches!(ahead, Err(engine::EngineError::CursorAhead { .. })), "{ahead:?}");
    }
}
