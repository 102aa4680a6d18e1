package sandbox;

import com.fasterxml.jackson.databind.JsonNode;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.atomic.AtomicLong;
import java.util.function.Function;
import org.apache.helix.model.IdealState;
import org.apache.pinot.common.datatable.DataTable;
import org.apache.pinot.common.datatable.DataTableFactory;
import org.apache.pinot.common.metrics.BrokerMetrics;
import org.apache.pinot.common.metrics.ServerMetrics;
import org.apache.pinot.common.request.BrokerRequest;
import org.apache.pinot.common.request.InstanceRequest;
import org.apache.pinot.core.query.optimizer.QueryOptimizer;
import org.apache.pinot.core.query.reduce.BrokerReduceService;
import org.apache.pinot.core.query.request.ServerQueryRequest;
import org.apache.pinot.core.transport.ServerRoutingInstance;
import org.apache.pinot.segment.local.data.manager.TableDataManager;
import org.apache.pinot.spi.env.PinotConfiguration;
import org.apache.pinot.spi.metrics.PinotMetricUtils;
import org.apache.pinot.spi.query.QueryThreadContext;
import org.apache.pinot.spi.utils.CommonConstants.Helix.StateModel.SegmentStateModel;
import org.apache.pinot.spi.utils.JsonUtils;
import org.apache.pinot.spi.utils.builder.TableNameBuilder;
import org.apache.pinot.sql.parsers.CalciteSqlCompiler;

/**
 * A broker's part in a query, without the broker: gives each segment of the table to one of the servers that have it, in
 * turn from query to query (on a REALTIME table, all segments to one as far as it has them), runs Pinot's own single-stage executor on each server and its own reducer over the results.
 */
final class QueryEngine {
  private static final long TIMEOUT_MS = 30_000;

  private final BrokerReduceService _reducer = new BrokerReduceService(new PinotConfiguration(Map.of(), Map.of()));
  private final BrokerMetrics _metrics = new BrokerMetrics(PinotMetricUtils.getPinotMetricsRegistry());
  private final QueryOptimizer _optimizer = new QueryOptimizer();
  private final ExecutorService _threads = Executors.newCachedThreadPool();
  private final AtomicLong _requests = new AtomicLong();

  /** The rows of the result. A segment that no running server has, and any error that Pinot reports, is an exception. */
  List<List<Object>> query(String sql, List<SegmentServer> servers, Function<String, IdealState> idealStates)
      throws Exception {
    BrokerRequest request = CalciteSqlCompiler.compileToBrokerRequest(sql);
    String name = request.getPinotQuery().getDataSource().getTableName();
    String table = List.of(name, TableNameBuilder.OFFLINE.tableNameWithType(name),
            TableNameBuilder.REALTIME.tableNameWithType(name)).stream()
        .filter(option -> TableNameBuilder.isTableResource(option) && idealStates.apply(option) != null).findFirst()
        .orElseThrow(() -> new IllegalArgumentException("no table " + name));
    request.getPinotQuery().getDataSource().setTableName(table);
    request.getQuerySource().setTableName(table);
    IdealState idealState = idealStates.apply(table);
    long id = _requests.incrementAndGet();
    Map<SegmentServer, List<String>> routing = route(table, idealState, servers, id);
    if (routing.isEmpty()) {
      throw new IllegalStateException("table " + table + " has no segments");
    }
    _optimizer.optimize(request.getPinotQuery(),
        routing.keySet().iterator().next().tables().get(table).getCachedTableConfigAndSchema().getRight());
    JsonNode response;
    try (QueryThreadContext ignored = QueryThreadContext.openForSseTest()) {
      Map<ServerRoutingInstance, DataTable> results = new HashMap<>();
      for (Map.Entry<SegmentServer, List<String>> entry : routing.entrySet()) {
        SegmentServer server = entry.getKey();
        results.put(
            new ServerRoutingInstance(server.name(), server.adminPort(), TableNameBuilder.getTableTypeFromTableName(table)),
            execute(server, request, id, entry.getValue()));
      }
      response = JsonUtils.stringToJsonNode(
          _reducer.reduceOnDataTable(request, request, results, TIMEOUT_MS, _metrics).toJsonString());
    }
    if (!response.path("exceptions").isEmpty()) {
      throw new IllegalStateException("query failed: " + response.get("exceptions"));
    }
    List<List<Object>> rows = new ArrayList<>();
    for (JsonNode row : response.get("resultTable").get("rows")) {
      rows.add(JsonUtils.jsonNodeToObject(row, List.class));
    }
    return rows;
  }

  private static Map<SegmentServer, List<String>> route(String table, IdealState idealState,
      List<SegmentServer> servers, long turn) {
    Map<SegmentServer, List<String>> routing = new LinkedHashMap<>();
    // Which row of a key is valid, each server decides for itself: all segments of a partition are to be asked of one.
    boolean together = TableNameBuilder.isRealtimeTableResource(table);
    long next = turn;
    for (String segment : idealState.getPartitionSet()) {
      List<SegmentServer> replicas = servers.stream().filter(server -> {
        TableDataManager manager = server.tables().get(table);
        return manager != null && manager.hasSegment(segment);
      }).toList();
      if (replicas.isEmpty()) {
        if (idealState.getInstanceStateMap(segment).containsValue(SegmentStateModel.CONSUMING)) {
          continue; // as new as that: brokers do not ask for it yet either
        }
        throw new IllegalStateException("segment " + segment + " of " + table + " is on no running server");
      }
      SegmentServer chosen = replicas.get((int) ((together ? turn : next++) % replicas.size()));
      routing.computeIfAbsent(chosen, key -> new ArrayList<>()).add(segment);
    }
    return routing;
  }

  private DataTable execute(SegmentServer server, BrokerRequest request, long id, List<String> segments)
      throws Exception {
    InstanceRequest part = new InstanceRequest(id, request);
    part.setSearchSegments(segments);
    byte[] bytes = server.tables().queries()
        .execute(new ServerQueryRequest(part, ServerMetrics.get(), System.currentTimeMillis()),
            QueryThreadContext.contextAwareExecutorService(_threads)).toDataTable().toBytes();
    return DataTableFactory.getDataTable(bytes);
  }
}
