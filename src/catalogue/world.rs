//! The world of a case as a drawing of text: who is outside, and what runs on which node.

use comfy_table::presets::UTF8_FULL;
use comfy_table::{CellAlignment, ContentArrangement, Table};
use onehop_harness::case::{Case, ServiceType};
use onehop_harness::world::World;

/// Nodes side by side, with the pods that the case has in it, and the clients that it has outside above them.
pub(super) fn drawing(world: &World, case: &Case) -> String {
    let mut table = Table::new();
    table
        .load_style(UTF8_FULL)
        .set_content_arrangement(ContentArrangement::Disabled);
    let nodes = world.nodes.iter();
    table.set_header(
        nodes
            .clone()
            .map(|node| format!("{}\n{}", node.name, node.zone)),
    );
    table.add_row(nodes.map(|node| pods(world, case, &node.name)));
    for column in table.column_iter_mut() {
        column.set_cell_alignment(CellAlignment::Center);
    }
    let nodes = table.to_string();
    let outside = outside(world, case);
    if outside.is_empty() {
        return indented(&nodes);
    }
    let width = nodes.lines().next().map_or(0, |line| line.chars().count());
    let way = match case.service.kind {
        ServiceType::LoadBalancer(mode) => format!("router, load balancer ({})", mode.name()),
        _ => "router".to_owned(),
    };
    let above = [outside, "│".to_owned(), way, "│".to_owned()];
    let above: String = above
        .iter()
        .map(|line| format!("{line:^width$}\n"))
        .collect();
    indented(&format!("{above}{nodes}"))
}

/// The pods of the case on a node, backends first, and `itself` where the node calls.
fn pods(world: &World, case: &Case, node: &str) -> String {
    let on = world.pods.iter().filter(|pod| pod.node == node);
    let mut names: Vec<&str> = on
        .map(|pod| pod.name.as_str())
        .filter(|pod| mentions(case, pod))
        .collect();
    names.sort_by_key(|name| !name.starts_with("web-"));
    if mentions(case, node) {
        names.push("itself");
    }
    names.join("\n")
}

fn outside(world: &World, case: &Case) -> String {
    let clients = world.clients.iter().map(|client| client.name.as_str());
    let clients: Vec<_> = clients.filter(|client| mentions(case, client)).collect();
    clients.join("   ")
}

fn indented(text: &str) -> String {
    let lines = text.lines().map(|line| format!("  {}", line.trim_end()));
    lines.collect::<Vec<_>>().join("\n")
}

/// Whether a case has this host in it at all.
fn mentions(case: &Case, host: &str) -> bool {
    let flows = case.flows();
    let calls = flows.iter().any(|flow| flow.from.host() == host);
    let traffics = case.traffics().any(|traffic| traffic.from.host() == host);
    let mut backends = case.every_backends().flatten();
    calls || traffics || backends.any(|backend| backend.pod == host)
}
