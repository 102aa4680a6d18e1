package sandbox;

import com.fasterxml.jackson.databind.node.ObjectNode;
import com.sun.net.httpserver.HttpExchange;
import com.sun.net.httpserver.HttpServer;
import java.io.IOException;
import java.net.InetSocketAddress;
import java.net.URLDecoder;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.NoSuchElementException;
import java.util.Objects;
import java.util.Set;
import java.util.TreeMap;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.function.Function;
import org.apache.pinot.common.response.server.ServerReloadStatusResponse;
import org.apache.pinot.common.restlet.resources.SegmentSizeInfo;
import org.apache.pinot.common.restlet.resources.ServerSegmentsReloadCheckResponse;
import org.apache.pinot.common.restlet.resources.TableMetadataInfo;
import org.apache.pinot.common.restlet.resources.TableSegments;
import org.apache.pinot.common.restlet.resources.TableSizeInfo;
import org.apache.pinot.common.restlet.resources.TablesList;
import org.apache.pinot.segment.local.data.manager.SegmentDataManager;
import org.apache.pinot.segment.local.data.manager.TableDataManager;
import org.apache.pinot.segment.spi.index.startree.AggregationFunctionColumnPair;
import org.apache.pinot.segment.spi.ColumnMetadata;
import org.apache.pinot.segment.spi.ImmutableSegment;
import org.apache.pinot.segment.spi.IndexSegment;
import org.apache.pinot.segment.spi.datasource.DataSource;
import org.apache.pinot.segment.spi.index.IndexService;
import org.apache.pinot.segment.spi.index.IndexType;
import org.apache.pinot.segment.spi.index.StandardIndexes;
import org.apache.pinot.segment.spi.index.startree.StarTreeV2;
import org.apache.pinot.spi.utils.JsonUtils;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * The part of a server's admin API that the controller and this project call, with the answers that a Pinot 1.5.1 server
 * gives (its TablesResource, TableSizeResource, ControllerJobStatusResource and HealthCheckResource).
 */
final class AdminApi {
  private static final Logger LOGGER = LoggerFactory.getLogger(AdminApi.class);

  /** Index names in segment metadata, which are older than the index ids. */
  private static final Map<String, IndexType<?, ?, ?>> INDEX_LABELS = new TreeMap<>(
      Map.of("bloom-filter", StandardIndexes.bloomFilter(), "dictionary", StandardIndexes.dictionary(), "forward-index",
          StandardIndexes.forward(), "inverted-index", StandardIndexes.inverted(), "null-value-vector-reader",
          StandardIndexes.nullValueVector(), "range-index", StandardIndexes.range(), "json-index",
          StandardIndexes.json(), "h3-index", StandardIndexes.h3(), "fst-index", StandardIndexes.fst(), "text-index",
          StandardIndexes.text()));

  private final HttpServer _http;
  private final ExecutorService _threads = Executors.newFixedThreadPool(8);
  private final int _port;
  private volatile String _server;
  private volatile ServerTables _tables;
  private volatile boolean _stopped;

  /** Takes the port, any free one where it is 0, but answers only after {@link #start}. */
  AdminApi(String host, int port)
      throws IOException {
    _http = HttpServer.create(new InetSocketAddress(host, port), 0);
    _http.setExecutor(_threads);
    _http.createContext("/", this::serve);
    _port = _http.getAddress().getPort();
  }

  int port() {
    return _port;
  }

  boolean isStopped() {
    return _stopped;
  }

  void start(String server, ServerTables tables) {
    _server = server;
    _tables = tables;
    _http.start();
  }

  void stop() {
    _stopped = true;
    _http.stop(0);
    _threads.shutdownNow();
  }

  private void serve(HttpExchange exchange)
      throws IOException {
    int status = 200;
    Object body;
    try {
      body = answer(path(exchange), parameters(exchange));
    } catch (NoSuchElementException e) {
      status = 404;
      body = Map.of("code", status, "error", String.valueOf(e.getMessage()));
    } catch (Throwable e) {
      LOGGER.error("{} on {}", exchange.getRequestURI(), _server, e);
      status = 500;
      body = Map.of("code", status, "error", String.valueOf(e));
    }
    try (exchange) {
      boolean text = body instanceof String;
      byte[] bytes = (text ? (String) body : JsonUtils.objectToString(body)).getBytes(StandardCharsets.UTF_8);
      exchange.getResponseHeaders().set("Content-Type", text ? "text/plain" : "application/json");
      exchange.sendResponseHeaders(status, bytes.length);
      exchange.getResponseBody().write(bytes);
    }
  }

  private static String[] path(HttpExchange exchange) {
    return Arrays.stream(exchange.getRequestURI().getRawPath().substring(1).split("/")).map(AdminApi::decode)
        .toArray(String[]::new);
  }

  private static Map<String, List<String>> parameters(HttpExchange exchange) {
    Map<String, List<String>> parameters = new HashMap<>();
    String query = exchange.getRequestURI().getRawQuery();
    for (String pair : query == null ? new String[0] : query.split("&")) {
      String[] parts = pair.split("=", 2);
      parameters.computeIfAbsent(decode(parts[0]), key -> new ArrayList<>())
          .add(parts.length > 1 ? decode(parts[1]) : "");
    }
    return parameters;
  }

  private static String decode(String part) {
    return URLDecoder.decode(part, StandardCharsets.UTF_8);
  }

  private Object answer(String[] path, Map<String, List<String>> parameters)
      throws Exception {
    String first = path[0];
    if (first.equals("health")) {
      return "OK";
    }
    if (first.equals("tables") && path.length == 1) {
      return new TablesList(new ArrayList<>(_tables.names()));
    }
    if (first.equals("controllerJob") && path.length == 3 && path[1].equals("reloadStatus")) {
      return reloadStatus(table(path[2]), parameters);
    }
    if (!(first.equals("tables") || first.equals("table")) || path.length < 3) {
      throw new NoSuchElementException("not supported by the sandbox: /" + String.join("/", path));
    }
    TableDataManager table = table(path[1]);
    List<String> columns = parameters.getOrDefault("columns", List.of());
    if (path.length == 5 && path[2].equals("segments") && path[4].equals("metadata")) {
      List<ObjectNode> found = _tables.each(table, List.of(path[3]), segment -> metadata(segment, columns));
      if (found.isEmpty()) {
        throw new NoSuchElementException("no segment " + path[3] + " of " + path[1] + " on " + _server);
      }
      return found.get(0);
    }
    switch (String.join("/", Arrays.copyOfRange(path, 2, path.length))) {
      case "segments":
        return new TableSegments(_tables.each(table, null, SegmentDataManager::getSegmentName));
      case "segments/isStale":
        return table.getStaleSegments();
      case "segments/needReload":
        return new ServerSegmentsReloadCheckResponse(table.needReloadSegments(), _server);
      case "segments/crc":
        Map<String, String> crcs = new TreeMap<>();
        _tables.each(table, null,
            segment -> crcs.put(segment.getSegmentName(), segment.getSegment().getSegmentMetadata().getCrc()));
        return crcs;
      case "segments/metadata":
        Map<String, ObjectNode> bySegment = new TreeMap<>();
        _tables.each(table, parameters.get("segments"),
            segment -> bySegment.put(segment.getSegmentName(), metadata(segment, columns)));
        return bySegment;
      case "size":
        return size(table);
      case "indexes":
        return indexes(table);
      case "metadata":
        return metadata(table, columns);
      default:
        throw new NoSuchElementException("not supported by the sandbox: /" + String.join("/", path));
    }
  }

  private TableDataManager table(String name) {
    TableDataManager table = _tables.get(name);
    if (table == null) {
      throw new NoSuchElementException("no table " + name + " on " + _server);
    }
    return table;
  }

  private ServerReloadStatusResponse reloadStatus(TableDataManager table, Map<String, List<String>> parameters) {
    long since = Long.parseLong(parameters.get("reloadJobTimestamp").get(0));
    List<String> names =
        parameters.containsKey("segmentName") ? List.of(parameters.get("segmentName").get(0).split("\\|")) : null;
    List<Boolean> reloaded = _tables.each(table, names, segment -> segment.getLoadTimeMs() >= since);
    ServerReloadStatusResponse response = new ServerReloadStatusResponse()
        .setTotalSegmentCount(names == null ? reloaded.size() : names.size())
        .setSuccessCount((int) reloaded.stream().filter(done -> done).count());
    var job = parameters.containsKey("reloadJobId") ? _tables.reloadJobs()
        .getJobStatus(parameters.get("reloadJobId").get(0)) : null;
    if (job != null) {
      response.setFailureCount((long) job.getFailureCount())
          .setSampleSegmentReloadFailures(job.getFailedSegmentDetails());
    }
    return response;
  }

  private TableSizeInfo size(TableDataManager table) {
    List<SegmentSizeInfo> sizes =
        committed(table, segment -> new SegmentSizeInfo(segment.getSegmentName(), bytes(segment)));
    return new TableSizeInfo(table.getTableName(),
        sizes.stream().mapToLong(SegmentSizeInfo::getDiskSizeInBytes).sum(), sizes);
  }

  private Map<String, Object> indexes(TableDataManager table) {
    Map<String, Map<String, Integer>> counts = new TreeMap<>();
    List<Integer> segments = committed(table, segment -> {
      for (String column : segment.getSegment().getColumnNames()) {
        DataSource source = segment.getSegment().getDataSource(column);
        IndexService.getInstance().getAllIndexes().forEach(
            index -> counts.computeIfAbsent(column, key -> new TreeMap<>())
                .merge(index.getId(), source.getIndex(index) != null ? 1 : 0, Integer::sum));
      }
      return 1;
    });
    return Map.of("totalOnlineSegments", segments.size(), "columnToIndexesCount", counts);
  }

  private TableMetadataInfo metadata(TableDataManager table, List<String> columns) {
    Map<String, Double> cardinalities = new TreeMap<>();
    Map<String, Double> multiValues = new TreeMap<>();
    Map<String, Map<String, Double>> indexSizes = new TreeMap<>();
    List<long[]> rowsAndBytes = committed(table, segment -> {
      segment.getSegment().getSegmentMetadata().getColumnMetadataMap().forEach((column, metadata) -> {
        if (columns.contains("*") || columns.contains(column)) {
          cardinalities.merge(column, (double) metadata.getCardinality(), Double::sum);
          if (!metadata.isSingleValue()) {
            multiValues.merge(column, (double) metadata.getMaxNumberOfMultiValues(), Double::sum);
          }
          addIndexSizes(metadata, indexSizes.computeIfAbsent(column, key -> new TreeMap<>()));
        }
      });
      return new long[]{segment.getSegment().getSegmentMetadata().getTotalDocs(), bytes(segment)};
    });
    long rows = rowsAndBytes.stream().mapToLong(pair -> pair[0]).sum();
    long bytes = rowsAndBytes.stream().mapToLong(pair -> pair[1]).sum();
    return new TableMetadataInfo(table.getTableName(), bytes, rowsAndBytes.size(), rows, Map.of(), cardinalities,
        multiValues, indexSizes, Map.of());
  }

  private static void addIndexSizes(ColumnMetadata metadata, Map<String, Double> sizes) {
    for (int i = 0; i < metadata.getNumIndexes(); i++) {
      String index = IndexService.getInstance().get(metadata.getIndexType(i)).getId();
      sizes.merge(index, (double) metadata.getIndexSize(i), Double::sum);
    }
  }

  private static ObjectNode metadata(SegmentDataManager manager, List<String> columns) {
    IndexSegment segment = manager.getSegment();
    Set<String> wanted = columns.contains("*") ? segment.getPhysicalColumnNames() : new HashSet<>(columns);
    ObjectNode json = (ObjectNode) segment.getSegmentMetadata().toJson(wanted);
    ObjectNode indexes = json.putObject("indexes");
    for (String column : segment.getPhysicalColumnNames()) {
      if (wanted.contains(column)) {
        ObjectNode labels = indexes.putObject(column);
        DataSource source = segment.getDataSource(column);
        INDEX_LABELS.forEach((label, index) -> labels.put(label, source.getIndex(index) != null ? "YES" : "NO"));
      }
    }
    List<StarTreeV2> starTrees = segment.getStarTrees();
    json.set("star-tree-index", JsonUtils.objectToJsonNode(
        starTrees == null ? null : starTrees.stream().map(tree -> Map.of(
            "dimension-columns", tree.getMetadata().getDimensionsSplitOrder(),
            "metric-aggregations", tree.getMetadata().getFunctionColumnPairs().stream()
                .map(AggregationFunctionColumnPair::toColumnName).toList(),
            "max-leaf-records", tree.getMetadata().getMaxLeafRecords(),
            "dimension-columns-skipped", tree.getMetadata().getSkipStarNodeCreationForDimensions())).toList()));
    return json;
  }

  /** Applies a function to the segments of a table that do not consume any more, and collects the results. */
  private <T> List<T> committed(TableDataManager table, Function<SegmentDataManager, T> function) {
    return _tables.each(table, null,
        segment -> segment.getSegment() instanceof ImmutableSegment ? function.apply(segment) : null).stream()
        .filter(Objects::nonNull).toList();
  }

  private static long bytes(SegmentDataManager manager) {
    return ((ImmutableSegment) manager.getSegment()).getSegmentSizeBytes();
  }
}
