//! Where the routes of work are mounted: issues and their parts, projects, goals, trees.

use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::issues::{
    self, approvals, attachments, checkout, comments, documents, history, interactions, labels, lists, marks,
    work_products,
};
use super::{goals, projects, trees, watchdog};
use crate::ApiState;

/// The routes, without their prefix.
pub(crate) fn mount() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new()
        .routes(routes!(lists::list, issues::create))
        .routes(routes!(lists::inbox_lite))
        .routes(routes!(lists::inbox_mine))
        .routes(routes!(issues::show, issues::change, issues::remove))
        .routes(routes!(issues::context))
        .routes(routes!(issues::create_child))
        .routes(routes!(checkout::take))
        .routes(routes!(checkout::release))
        .routes(routes!(checkout::force_release))
        .routes(routes!(comments::list, comments::create))
        .routes(routes!(comments::show, comments::remove))
        .routes(routes!(documents::list))
        .routes(routes!(documents::show, documents::put, documents::remove))
        .routes(routes!(documents::revisions))
        .routes(routes!(documents::restore))
        .routes(routes!(interactions::list, interactions::create))
        .routes(routes!(interactions::accept))
        .routes(routes!(interactions::reject))
        .routes(routes!(interactions::respond))
        .routes(routes!(approvals::list, approvals::link))
        .routes(routes!(approvals::unlink))
        .routes(routes!(work_products::list, work_products::create))
        .routes(routes!(work_products::change, work_products::remove))
        .routes(routes!(attachments::list))
        .routes(routes!(attachments::create))
        .routes(routes!(attachments::content))
        .routes(routes!(attachments::remove))
        .routes(routes!(labels::list, labels::create))
        .routes(routes!(labels::remove))
        .routes(routes!(marks::read, marks::unread))
        .routes(routes!(marks::archive, marks::unarchive))
        .routes(routes!(history::live))
        .routes(routes!(history::active))
        .routes(routes!(history::runs))
        .routes(routes!(history::of_run))
        .routes(routes!(history::activity))
        .routes(routes!(watchdog::decide))
        .routes(routes!(projects::list, projects::create))
        .routes(routes!(projects::show, projects::change, projects::remove))
        .routes(routes!(projects::workspaces, projects::create_workspace))
        .routes(routes!(projects::change_workspace, projects::remove_workspace))
        .routes(routes!(goals::list, goals::create))
        .routes(routes!(goals::show, goals::change, goals::remove))
        .routes(routes!(trees::preview))
        .routes(routes!(trees::state))
        .routes(routes!(trees::list, trees::operate))
        .routes(routes!(trees::show))
        .routes(routes!(trees::release))
}
