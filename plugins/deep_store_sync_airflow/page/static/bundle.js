// The page "Deep store sync": the tables in the navigation, one table as a tab on its DAG. No build step: Airflow's UI
// imports this module and gives it its own React (globalThis.React). Colours follow the host's theme.
import { el } from "./common.js";
import { style } from "./style.js";
import { TablePage } from "./table.js";
import { TablesPage } from "./tables.js";

function DeepStoreSync({ dagId }) {
  return el("div", { className: "dss" }, el("style", null, style), dagId ? el(TablePage, { dagId, key: dagId }) : el(TablesPage));
}

// Airflow looks for the component under the plugin's name. Tab and navigation share this one.
globalThis["Deep store sync"] = DeepStoreSync;
globalThis.AirflowPlugin = DeepStoreSync;
