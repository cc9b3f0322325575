//! What a company looks like at a glance, what people put aside, and companies that are changed.

use domain::agent::AgentStatus;
use domain::ids::AgentId;
use domain::moment::Moment;
use domain::run::RunStatus;
use store::dismissals::{self, Dismissal};
use store::{Store, companies, overview, p, sql};

use crate::acme::{at, company_with_an_agent, tx};
use crate::both_stores;

fn put_aside(id: &str, user: &str, key: &str, seconds: i64) -> Dismissal {
    Dismissal {
        id: id.into(),
        company_id: "acme".into(),
        user_id: user.into(),
        item_key: key.into(),
        dismissed_at: at(seconds),
        created_at: at(seconds),
        updated_at: at(seconds),
    }
}

async fn run(store: &Store, id: &'static str, status: &'static str, made: Moment) {
    let write = store.write(move |tx| {
        Box::pin(async move {
            tx.run(
                sql!(
                    "INSERT INTO runs (id, company_id, agent_id, invocation_source, status, task_key, wake_id, context, \
                     created_at, updated_at) VALUES ($1, 'acme', 'ada', 'on_demand', $2, $1, 'w', '{}', $3, $3)"
                ),
                p![id, status, made],
            )
            .await
        })
    });
    write.await.unwrap();
}

both_stores! {
    async fn what_is_put_aside_again_is_one_row_with_the_last_time(store: Store) {
        company_with_an_agent(&store).await;
        let (first, again) = (put_aside("1", "u", "run:x", 1), put_aside("2", "u", "run:x", 5));
        let (other, theirs) = (put_aside("3", "u", "approval:y", 2), put_aside("4", "v", "run:x", 3));
        for row in [&first, &other, &theirs] {
            let saved = tx!(store, [row], |tx| dismissals::save(tx, &row));
            assert_eq!(saved.as_ref(), Some(row));
        }
        let saved = tx!(store, [again], |tx| dismissals::save(tx, &again)).unwrap();
        assert_eq!(saved, Dismissal { dismissed_at: at(5), updated_at: at(5), ..first });
        let company: domain::ids::CompanyId = "acme".into();
        let listed = tx!(store, [company], |tx| dismissals::of_user(tx, &company, "u", 9));
        assert_eq!(listed, [other, saved]);
        assert_eq!(tx!(store, [company], |tx| dismissals::of_user(tx, &company, "u", 1)).len(), 1);
    }

    async fn runs_are_counted_by_day_and_status(store: Store) {
        let (company, agent) = company_with_an_agent(&store).await;
        let day = crate::NOON / overview::DAY;
        let at_day = |days: i64, micros: i64| Moment::from_micros((day + days) * overview::DAY + micros);
        run(&store, "1", "succeeded", at_day(0, 0)).await;
        run(&store, "2", "succeeded", at_day(0, overview::DAY - 1)).await;
        run(&store, "3", "failed", at_day(0, 5)).await;
        run(&store, "4", "failed", at_day(1, 0)).await;
        run(&store, "5", "failed", at_day(-1, 5)).await;
        let since = at_day(0, 0);
        let counted = tx!(store, [company], |tx| overview::runs_by_day(tx, &company, since));
        let expected =
            [(day, RunStatus::Failed, 1), (day, RunStatus::Succeeded, 2), (day + 1, RunStatus::Failed, 1)];
        assert_eq!(counted, expected);
        let agents = vec![agent.clone(), AgentId::from("nobody")];
        let last = tx!(store, [agents], |tx| overview::last_runs(tx, &agents));
        assert_eq!(last, [(agent.clone(), "4".to_owned())]);
        assert_eq!(tx!(store, [company], |tx| overview::agents(tx, &company)), [(AgentStatus::Idle, 1)]);
        assert_eq!(tx!(store, [company], |tx| overview::issues(tx, &company)), []);
        assert_eq!(tx!(store, [company], |tx| overview::agents_in_error(tx, &company, 9)), []);
        tx!(store, [agent], |tx| store::agents::mark_rested(tx, &agent, AgentStatus::Error, at(9)));
        assert_eq!(tx!(store, [company], |tx| overview::agents_in_error(tx, &company, 9)), [agent]);
    }

    async fn a_company_moves_only_from_where_it_is(store: Store) {
        let (company, _) = company_with_an_agent(&store).await;
        let mut row = tx!(store, [company], |tx| companies::lock(tx, &company)).unwrap();
        row.name = "New".into();
        row.description = Some("about".into());
        row.budget_monthly_cents = 5;
        row.require_approval = true;
        row.brand_color = Some("#112233".into());
        row.updated_at = at(3);
        tx!(store, [row], |tx| companies::update(tx, &row));
        assert_eq!(tx!(store, [company], |tx| companies::get(tx, &company)), Some(row));
        assert!(!tx!(store, [company], |tx| companies::set_status(tx, &company, "paused", "archived", at(4))));
        assert!(tx!(store, [company], |tx| companies::set_status(tx, &company, "active", "archived", at(4))));
        assert_eq!(tx!(store, [company], |tx| companies::get(tx, &company)).unwrap().status, "archived");
    }
}
