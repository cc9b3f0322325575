//! Who may reach an instance: keys, members, the first administrator, the login of a command line.

use domain::access::challenge::{ChallengeStatus, RequestedAccess};
use domain::access::credential::{BOARD_KEY_LIFE, CHALLENGE_LIFE, Mode};
use domain::access::{Actor, Board, Grant, LOCAL_USER, MemberRole, MembershipStatus, Proof};
use domain::agent::PauseReason;
use engine::{Author, ChallengeDraft, Engine, EngineError};
use store::users::Principal;
use testkit::both_stores;

fn board() -> Author {
    Author::local_board()
}

async fn asks(engine: &Engine, mode: Mode, token: &str) -> Result<Actor, String> {
    engine.authenticate(mode, Some(token), false, None).await.map_err(|error| error.to_string())
}

fn login() -> ChallengeDraft {
    ChallengeDraft {
        command: "auth login".into(),
        client_name: Some("laptop".into()),
        requested: RequestedAccess::Board,
        company_id: None,
    }
}

const BAD: &str = "Token is not valid";

both_stores! {
    async fn who_directs_others_is_trusted_and_others_may_be_or_not(world) {
        let engine = world.engine().await;
        let company = world.company(&engine).await;
        let user = engine.create_user("Eve", None, false, &board()).await.unwrap();
        let active = MembershipStatus::Active;
        let put = |role, trusted: Option<bool>| {
            let (engine, company, id) = (engine.clone(), company.clone(), user.id.clone());
            async move { engine.set_member_trusted(&company, &id, (role, active, trusted), &board()).await }
        };
        assert!(put(MemberRole::Member, Some(false)).await.unwrap().is_untrusted);
        // What is not said stays.
        assert!(put(MemberRole::Viewer, None).await.unwrap().is_untrusted);
        for (role, trusted) in [(MemberRole::Admin, None), (MemberRole::Owner, Some(false))] {
            assert!(put(role, trusted).await.is_err());
        }
        assert!(!put(MemberRole::Admin, Some(true)).await.unwrap().is_untrusted);
        let stored = engine.members(&company).await.unwrap();
        assert!(stored.iter().all(|member| !member.is_untrusted));
        engine.leave().await;
    }

    async fn an_agents_key_opens_until_it_is_revoked_or_the_agent_is_gone(world) {
        let engine = world.engine().await;
        let agent = world.agent(&engine, 1).await;
        let made = engine.create_agent_key(&agent.id, " default ", &board()).await.unwrap();
        assert!(made.token.starts_with("pcp_") && made.token.len() == 4 + 48, "{}", made.token);
        assert_eq!((made.key.name.as_str(), made.key.key_hash.len()), ("default", 64));
        assert!(!made.key.key_hash.contains(&made.token[4..]));
        for mode in [Mode::LocalTrusted, Mode::Authenticated] {
            let Ok(Actor::Agent(actor)) = asks(&engine, mode, &made.token).await else { panic!("{mode}") };
            assert_eq!((actor.agent, actor.company), (agent.id.clone(), agent.company_id.clone()));
        }
        let listed = engine.agent_keys(&agent.id).await.unwrap();
        assert!(listed[0].last_used_at.is_some());
        // A paused agent still has its say; revoking twice is once; another's key is not found.
        engine.pause_agent(&agent.id, PauseReason::Manual, &domain::wake::Actor::local_board()).await.unwrap();
        assert!(asks(&engine, Mode::LocalTrusted, &made.token).await.is_ok());
        let other = world.agent(&engine, 1).await;
        let foreign = engine.revoke_agent_key(&other.id, &made.key.id, &board()).await;
        assert!(matches!(foreign, Err(EngineError::NotFound("Key"))));
        for _ in 0..2 {
            engine.revoke_agent_key(&agent.id, &made.key.id, &board()).await.unwrap();
        }
        for mode in [Mode::LocalTrusted, Mode::Authenticated] {
            assert_eq!(asks(&engine, mode, &made.token).await, Err(BAD.to_owned()), "never the board");
        }
        let second = engine.create_agent_key(&agent.id, "second", &board()).await.unwrap();
        engine.terminate_agent(&agent.id, &domain::wake::Actor::local_board()).await.unwrap();
        assert_eq!(asks(&engine, Mode::LocalTrusted, &second.token).await, Err(BAD.to_owned()));
        assert!(engine.agent_keys(&agent.id).await.unwrap().iter().all(|key| key.revoked_at.is_some()));
        let refused = engine.create_agent_key(&agent.id, "third", &board()).await;
        assert!(matches!(&refused, Err(EngineError::Conflict { message, .. })
            if message == "Cannot create keys for terminated agents"), "{refused:?}");
    }

    async fn what_matches_nothing_is_refused_and_no_token_is_the_board_of_a_trusted_instance_only(world) {
        let engine = world.engine().await;
        let wrong = format!("pcp_{}", "0".repeat(48));
        for token in ["", "x", wrong.as_str(), "pcp_board_", "bgl_run_00"] {
            for mode in [Mode::LocalTrusted, Mode::Authenticated] {
                assert_eq!(asks(&engine, mode, token).await, Err(BAD.to_owned()), "{token}");
            }
        }
        let nobody = engine.authenticate(Mode::Authenticated, None, false, None).await.unwrap();
        assert_eq!(nobody, Actor::Nobody);
        let Ok(Actor::Board(board)) = engine.authenticate(Mode::LocalTrusted, None, false, None).await else { panic!() };
        assert_eq!((board.user.as_str(), board.proof), (LOCAL_USER, Proof::LocalImplicit));
        let local = engine.authenticate(Mode::LocalTrusted, Some("whatever"), true, None).await;
        let Ok(Actor::Board(Board { proof: Proof::LocalToken, .. })) = local else { panic!("{local:?}") };
        assert!(engine.authenticate(Mode::Authenticated, Some("whatever"), true, None).await.is_err());
    }

    async fn a_token_of_a_run_dies_with_it(world) {
        let engine = world.engine().await;
        let agent = world.agent(&engine, 1).await;
        let (run, process) = world.start(&engine, &agent.id, "a").await;
        let token = format!("bgl_run_{}", "a".repeat(48));
        let row = world.run(&run.id).await;
        let lease = store::leases::Lease {
            run: run.id.clone(),
            epoch: row.lease_epoch,
            holder: row.lease_holder.unwrap(),
        };
        let hash = engine::key_hash(&token);
        let set = world.store.write(move |tx| {
            let (lease, hash) = (lease.clone(), hash.clone());
            Box::pin(async move { store::runs_of_issues::set_token(tx, &lease, &hash).await })
        });
        assert!(set.await.unwrap());
        let Ok(Actor::Agent(actor)) = asks(&engine, Mode::Authenticated, &token).await else { panic!() };
        assert_eq!((&actor.agent, actor.run()), (&agent.id, Some(&run.id)));
        world.model.say_done(&process);
        world.model.exit(&process, 0);
        world.over(&run.id).await;
        let after = asks(&engine, Mode::LocalTrusted, &token).await;
        assert_eq!(after, Err("Run token is not valid any more: its run has ended".to_owned()));
    }

    async fn there_is_one_first_administrator(world) {
        let engine = world.engine().await;
        let second = world.engine().await;
        assert!(engine.needs_first_admin().await.unwrap());
        let (one, two) = tokio::join!(
            engine.create_first_admin("Ada", Some("ada@example.org")),
            second.create_first_admin("Eve", Some("eve@example.org")),
        );
        assert!(one.is_ok() != two.is_ok(), "{one:?} {two:?}");
        let (user, key) = one.or(two).unwrap();
        assert!(!engine.needs_first_admin().await.unwrap());
        let Ok(Actor::Board(board)) = asks(&engine, Mode::Authenticated, &key.token).await else { panic!() };
        assert_eq!((board.user, board.is_instance_admin), (user.id.clone(), true));
        assert!(engine.create_first_admin("Late", None).await.is_err());
        assert_eq!(engine.users(None, 10).await.unwrap(), [user]);
    }

    async fn a_board_key_lives_thirty_days_and_carries_its_memberships(world) {
        let engine = world.engine().await;
        let company = world.company(&engine).await;
        let user = engine.create_user("Bo", Some(" Bo@Example.org "), false, &board()).await.unwrap();
        assert_eq!(user.email.as_deref(), Some("bo@example.org"));
        let twice = engine.create_user("Bob", Some("bo@example.org"), false, &board()).await;
        assert!(matches!(twice, Err(EngineError::Refused { .. })), "{twice:?}");
        assert_eq!(engine.user_with_email("BO@example.org").await.unwrap(), Some(user.clone()));
        let made = engine.create_board_key(&user.id, "cli", &board()).await.unwrap();
        assert_eq!(made.key.expires_at, Some(made.key.created_at.plus(BOARD_KEY_LIFE)));
        engine.set_member(&company, &user.id, MemberRole::Viewer, MembershipStatus::Active, &board()).await.unwrap();
        engine.set_grant(&company, Principal::user(&user.id), Grant::AssignTasks, true, &board()).await.unwrap();
        let Ok(Actor::Board(actor)) = asks(&engine, Mode::Authenticated, &made.token).await else { panic!() };
        let membership = actor.membership(&company).unwrap();
        assert_eq!((membership.role, membership.is_active()), (MemberRole::Viewer, true));
        assert_eq!(membership.grants, [Grant::AssignTasks]);
        engine.set_grant(&company, Principal::user(&user.id), Grant::AssignTasks, false, &board()).await.unwrap();
        engine.remove_member(&company, &user.id, &board()).await.unwrap();
        let Ok(Actor::Board(actor)) = asks(&engine, Mode::Authenticated, &made.token).await else { panic!() };
        assert!(actor.memberships.is_empty());
        let second = engine.create_board_key(&user.id, "second", &board()).await.unwrap();
        assert!(engine.revoke_board_key(&user.id, &second.key.id, &board()).await.unwrap());
        assert!(!engine.revoke_board_key(&user.id, &second.key.id, &board()).await.unwrap());
        assert_eq!(asks(&engine, Mode::Authenticated, &second.token).await, Err(BAD.to_owned()));
        world.clock.set(engine.now().plus(BOARD_KEY_LIFE));
        assert_eq!(asks(&engine, Mode::Authenticated, &made.token).await, Err(BAD.to_owned()));
        assert_eq!(engine.board_keys(&user.id).await.unwrap().len(), 2);
    }

    async fn a_company_keeps_an_owner(world) {
        let engine = world.engine().await;
        let company = world.company(&engine).await;
        let mut owners = Vec::new();
        for name in ["Ada", "Bo"] {
            let user = engine.create_user(name, None, false, &board()).await.unwrap();
            engine.set_member(&company, &user.id, MemberRole::Owner, MembershipStatus::Active, &board()).await.unwrap();
            owners.push(user);
        }
        let by = board();
        let (one, two) = tokio::join!(
            engine.remove_member(&company, &owners[0].id, &by),
            engine.set_member(&company, &owners[1].id, MemberRole::Viewer, MembershipStatus::Active, &by),
        );
        assert!(one.is_ok() != two.is_ok(), "one of two may leave: {one:?} {two:?}");
        let members = engine.members(&company).await.unwrap();
        let left = members.iter().filter(|it| it.role.as_deref() == Some("owner")).count();
        assert_eq!(left, 1);
        let stranger = engine.set_member(&company, "nobody", MemberRole::Member, MembershipStatus::Active, &board()).await;
        assert!(matches!(stranger, Err(EngineError::NotFound("User"))));
    }

    async fn an_agent_gets_rights_in_its_own_company_only(world) {
        let engine = world.engine().await;
        let agent = world.agent(&engine, 1).await;
        let key = engine.create_agent_key(&agent.id, "k", &board()).await.unwrap();
        let who = Principal::agent(agent.id.as_str());
        engine.set_grant(&agent.company_id, who.clone(), Grant::AssignTasks, true, &board()).await.unwrap();
        let Ok(Actor::Agent(actor)) = asks(&engine, Mode::Authenticated, &key.token).await else { panic!() };
        assert!(actor.has(Grant::AssignTasks) && !actor.has(Grant::CreateAgents));
        let foreign = world.company(&engine).await;
        let refused = engine.set_grant(&foreign, who, Grant::AssignTasks, true, &board()).await;
        assert!(matches!(refused, Err(EngineError::NotFound("Member"))));
    }

    async fn a_login_is_valid_from_its_approval_on(world) {
        let engine = world.engine().await;
        let company = world.company(&engine).await;
        let before = engine.now();
        let made = engine.create_challenge(login()).await.unwrap();
        let (first, last) = (before.plus(CHALLENGE_LIFE), engine.now().plus(CHALLENGE_LIFE));
        assert!((first..=last).contains(&made.expires_at));
        assert_eq!(asks(&engine, Mode::LocalTrusted, &made.board_token).await, Err(BAD.to_owned()));
        // The secret opens the challenge and nothing else; a wrong one finds nothing.
        assert_eq!(asks(&engine, Mode::LocalTrusted, &made.secret).await, Err(BAD.to_owned()));
        let wrong = engine.challenge(&made.id, "pcp_cli_auth_x", &Actor::Nobody).await;
        assert_eq!(wrong.unwrap_err().to_string(), "CLI auth challenge not found");
        let seen = engine.challenge(&made.id, &made.secret, &Actor::Nobody).await.unwrap();
        assert_eq!((seen.status, seen.requires_sign_in, seen.can_approve), (ChallengeStatus::Pending, true, false));
        let nobody = engine.approve_challenge(&made.id, &made.secret, &Actor::Nobody).await;
        assert_eq!(nobody.unwrap_err().to_string(), "Sign in before approving CLI access");
        let implicit = Actor::Board(Board::local(Proof::LocalImplicit, None));
        assert!(engine.approve_challenge(&made.id, &made.secret, &implicit).await.is_err());
        let local = Actor::Board(Board::local(Proof::LocalToken, None));
        for _ in 0..2 {
            let approved = engine.approve_challenge(&made.id, &made.secret, &local).await.unwrap();
            assert_eq!(approved.status, ChallengeStatus::Approved);
            assert_eq!(approved.approved_by.unwrap().id, LOCAL_USER);
        }
        let Ok(Actor::Board(actor)) = asks(&engine, Mode::LocalTrusted, &made.board_token).await else { panic!() };
        let Proof::BoardKey { key_id } = &actor.proof else { panic!() };
        assert!(actor.membership(&company).is_some_and(domain::access::Membership::is_active));
        assert_eq!(engine.board_keys(LOCAL_USER).await.unwrap().len(), 1, "two approvals make one key");
        assert!(engine.revoke_board_key(LOCAL_USER, key_id, &board()).await.unwrap());
        assert_eq!(asks(&engine, Mode::LocalTrusted, &made.board_token).await, Err(BAD.to_owned()));
    }

    async fn a_login_that_is_cancelled_or_late_stays_so(world) {
        let engine = world.engine().await;
        let local = Actor::Board(Board::local(Proof::LocalToken, None));
        let cancelled = engine.create_challenge(login()).await.unwrap();
        let late = engine.create_challenge(login()).await.unwrap();
        let seen = engine.cancel_challenge(&cancelled.id, &cancelled.secret, &Actor::Nobody).await.unwrap();
        assert_eq!(seen.status, ChallengeStatus::Cancelled);
        world.clock.set(engine.now().plus(CHALLENGE_LIFE));
        for (challenge, status) in [(&cancelled, ChallengeStatus::Cancelled), (&late, ChallengeStatus::Expired)] {
            let stands = engine.approve_challenge(&challenge.id, &challenge.secret, &local).await.unwrap();
            assert_eq!(stands.status, status);
            assert_eq!(asks(&engine, Mode::LocalTrusted, &challenge.board_token).await, Err(BAD.to_owned()));
        }
        // Anybody may ask, so there is an end to asking.
        for _ in 0..200 {
            engine.create_challenge(login()).await.unwrap();
        }
        assert!(engine.create_challenge(login()).await.is_err());
        let empty = engine.create_challenge(ChallengeDraft { command: " ".into(), ..login() }).await;
        assert!(matches!(empty, Err(EngineError::Invalid(_))));
    }
}
