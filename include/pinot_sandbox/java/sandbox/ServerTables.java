package sandbox;

import com.google.common.cache.Cache;
import com.google.common.cache.CacheBuilder;
import java.io.IOException;
import java.lang.reflect.InvocationHandler;
import java.lang.reflect.Proxy;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeMap;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.locks.Lock;
import java.util.function.Function;
import org.apache.commons.io.FileUtils;
import org.apache.commons.lang3.tuple.Pair;
import org.apache.helix.HelixManager;
import org.apache.pinot.common.metadata.ZKMetadataProvider;
import org.apache.pinot.common.metrics.ServerMetrics;
import org.apache.pinot.common.restlet.resources.SegmentErrorInfo;
import org.apache.pinot.core.data.manager.InstanceDataManager;
import org.apache.pinot.core.data.manager.provider.DefaultTableDataManagerProvider;
import org.apache.pinot.core.data.manager.realtime.RealtimeSegmentDataManager;
import org.apache.pinot.core.data.manager.realtime.SegmentBuildTimeLeaseExtender;
import org.apache.pinot.core.query.executor.ServerQueryExecutorV1Impl;
import org.apache.pinot.segment.local.data.manager.SegmentDataManager;
import org.apache.pinot.segment.local.data.manager.TableDataManager;
import org.apache.pinot.segment.local.utils.SegmentLocks;
import org.apache.pinot.segment.local.utils.SegmentReloadSemaphore;
import org.apache.pinot.segment.local.utils.ServerReloadJobStatusCache;
import org.apache.pinot.spi.utils.ReadMode;
import org.apache.pinot.spi.config.instance.InstanceDataManagerConfig;
import org.apache.pinot.spi.config.table.TableConfig;
import org.apache.pinot.spi.data.Schema;
import org.apache.pinot.spi.env.PinotConfiguration;
import org.apache.pinot.spi.stream.LongMsgOffset;
import org.apache.pinot.spi.utils.TimestampIndexUtils;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * The tables of one server, each under pinot-core's own data manager, which downloads, loads, replaces and reloads segments.
 *
 * <p>Does what Pinot 1.5.1's HelixInstanceDataManager does, with the defaults of its configuration.
 */
final class ServerTables {
  private static final Logger LOGGER = LoggerFactory.getLogger(ServerTables.class);
  private static final int REFRESH_THREADS = 1;

  private final Path _home;
  private final Path _dataDir;
  private final HelixManager _helix;
  private final InstanceDataManagerConfig _config;
  private final Map<String, TableDataManager> _tables = new ConcurrentHashMap<>();
  private final Map<String, Long> _loadMs = new ConcurrentHashMap<>();
  private final SegmentLocks _locks = new SegmentLocks();
  private volatile boolean _checksCrcs = true;
  private final SegmentReloadSemaphore _reloadSemaphore = new SegmentReloadSemaphore(REFRESH_THREADS);
  private final ExecutorService _refreshThreads = Executors.newFixedThreadPool(REFRESH_THREADS);
  private final Cache<Pair<String, String>, SegmentErrorInfo> _errors =
      CacheBuilder.newBuilder().maximumSize(100).build();
  private final ServerReloadJobStatusCache _reloadJobs;
  private final DefaultTableDataManagerProvider _provider = new DefaultTableDataManagerProvider();
  private final ServerQueryExecutorV1Impl _queries = new ServerQueryExecutorV1Impl();

  ServerTables(String server, Path home, String deepStore, HelixManager helix)
      throws IOException {
    _home = home;
    _dataDir = Files.createDirectories(dataDir(home));
    _helix = helix;
    _reloadJobs = new ServerReloadJobStatusCache(server);
    _config = config(server, deepStore);
    try {
      _queries.init(new PinotConfiguration(Map.of("pruner.class", "ColumnValueSegmentPruner"), Map.of()),
          instanceDataManager(server), ServerMetrics.get());
    } catch (Exception e) {
      throw new IllegalStateException("query executor of " + server, e);
    }
  }

  /** Where a server keeps its segments, below its folder: {@code <table>/<segment>}. */
  static Path dataDir(Path home) {
    return home.resolve("index");
  }

  /** Table data managers read table configs through Helix: called when it is connected, before transitions arrive. */
  void connected() {
    _provider.init(_config, _helix, _locks, null, _reloadJobs);
  }

  Set<String> names() {
    return _tables.keySet();
  }

  /** The manager of a table that has segments here, else null. */
  TableDataManager get(String table) {
    return _tables.get(table);
  }

  ServerReloadJobStatusCache reloadJobs() {
    return _reloadJobs;
  }

  ServerQueryExecutorV1Impl queries() {
    return _queries;
  }

  /** Whether a segment of another CRC than ZooKeeper's is replaced (instance.check.crc.on.segment.load). */
  void checkCrcs(boolean checksCrcs) {
    _checksCrcs = checksCrcs;
  }

  /** Milliseconds that each segment took to come online since the server started. */
  Map<String, Long> loadMs() {
    return new TreeMap<>(_loadMs);
  }

  /** Applies a function to loaded segments of a table, all of them where no names are given, and collects the results. */
  <T> List<T> each(TableDataManager table, List<String> names, Function<SegmentDataManager, T> function) {
    List<SegmentDataManager> segments =
        names == null ? table.acquireAllSegments() : table.acquireSegments(names, new ArrayList<>());
    try {
      List<T> results = new ArrayList<>();
      segments.forEach(segment -> results.add(function.apply(segment)));
      return results;
    } finally {
      segments.forEach(table::releaseSegment);
    }
  }

  void addOnlineSegment(String table, String segment)
      throws Exception {
    long begin = System.nanoTime();
    try {
      _tables.computeIfAbsent(table, this::create).addOnlineSegment(segment);
    } catch (Throwable e) {
      LOGGER.error("{} could not load {} of {}", _config.getInstanceId(), segment, table, e); // Helix would hide it
      throw e;
    }
    _loadMs.put(segment, (System.nanoTime() - begin) / 1_000_000);
  }

  void addConsumingSegment(String table, String segment)
      throws Exception {
    try {
      TableDataManager manager = _tables.computeIfAbsent(table, this::create);
      if (SegmentBuildTimeLeaseExtender.getLeaseExtender(table) == null) { // one for a table in a JVM
        SegmentBuildTimeLeaseExtender.getOrCreate(_config.getInstanceId(), ServerMetrics.get(), table);
      }
      manager.addConsumingSegment(segment);
    } catch (Throwable e) {
      LOGGER.error("{} could not consume {} of {}", _config.getInstanceId(), segment, table, e); // Helix would hide it
      throw e;
    }
  }

  /** Whether a consuming segment is there and has read its partition up to an offset. */
  boolean hasConsumed(String table, String segment, int offset) {
    TableDataManager manager = _tables.get(table);
    return manager != null && each(manager, List.of(segment), found -> found).stream().anyMatch(
        found -> found instanceof RealtimeSegmentDataManager consuming
            && ((LongMsgOffset) consuming.getCurrentOffset()).getOffset() >= offset);
  }

  void offloadSegment(String table, String segment)
      throws Exception {
    TableDataManager manager = _tables.get(table);
    if (manager != null) {
      manager.offloadSegment(segment);
    }
  }

  void deleteSegment(String table, String segment)
      throws Exception {
    Lock lock = _locks.getLock(table, segment);
    lock.lock();
    try {
      TableDataManager manager = _tables.get(table);
      if (manager != null && manager.hasSegment(segment)) {
        manager.offloadSegment(segment);
      }
      FileUtils.deleteQuietly(_dataDir.resolve(table).resolve(segment).toFile());
    } finally {
      lock.unlock();
    }
  }

  void deleteTable(String table) {
    TableDataManager manager = _tables.remove(table);
    if (manager != null) {
      manager.setDeleted(true);
      manager.shutDown();
    }
  }

  void shutDown() {
    _refreshThreads.shutdownNow();
    _tables.values().forEach(TableDataManager::shutDown);
    _queries.shutDown();
  }

  private TableDataManager create(String table) {
    TableConfig config = ZKMetadataProvider.getTableConfig(_helix.getHelixPropertyStore(), table);
    Schema schema = ZKMetadataProvider.getTableSchema(_helix.getHelixPropertyStore(), table);
    if (config == null || schema == null) {
      throw new IllegalStateException("no table config or schema in ZooKeeper for " + table);
    }
    TimestampIndexUtils.applyTimestampIndex(config, schema);
    TableDataManager manager =
        _provider.getTableDataManager(config, schema, _reloadSemaphore, _refreshThreads, null, _errors, () -> true,
            false, _reloadJobs);
    manager.start();
    return manager;
  }

  /** What Pinot asks of a server's configuration; what is not named here is false, zero or not set, as by default. */
  private InstanceDataManagerConfig config(String server, String deepStore) {
    PinotConfiguration empty = new PinotConfiguration(Map.of(), Map.of()); // without the environment's variables
    return proxy(InstanceDataManagerConfig.class, (self, method, args) -> {
      switch (method.getName()) {
        case "getInstanceId":
          return server;
        case "getInstanceDataDir":
          return _dataDir.toString();
        case "getInstanceSegmentTarDir":
          return _home.resolve("tars").toString();
        case "getSegmentStoreUri":
          return deepStore;
        case "getConsumerDir":
          return _home.resolve("consumers").toString();
        case "getReadMode":
          return ReadMode.mmap;
        case "getSegmentDirectoryLoader":
          return "default";
        case "getUpsertConfig":
        case "getDedupConfig":
          return empty;
        case "getTierConfigs":
          return new TreeMap<>();
        case "getMaxParallelRefreshThreads":
          return REFRESH_THREADS;
        case "getMaxParallelSegmentBuilds":
          return 4;
        case "getMaxParallelSegmentDownloads":
          return -1;
        case "getStreamSegmentDownloadUntarRateLimit":
          return -1L;
        case "getDeletedTablesCacheTtlMinutes":
          return 60;
        case "getDeletedSegmentsCacheSize":
          return 10_000;
        case "getDeletedSegmentsCacheTtlMinutes":
          return 2;
        case "shouldCheckCRCOnSegmentLoad":
          return _checksCrcs;
        case "shouldReloadConsumingSegment":
          return true;
        default:
          Class<?> type = method.getReturnType();
          return !type.isPrimitive() ? null : type == boolean.class ? (Object) false : type == long.class ? 0L : 0;
      }
    });
  }

  /** The part of an instance data manager that the query executor uses. */
  private InstanceDataManager instanceDataManager(String server) {
    return proxy(InstanceDataManager.class, (self, method, args) -> {
      switch (method.getName()) {
        case "getInstanceId":
          return server;
        case "getTableDataManager":
          return _tables.get((String) args[0]);
        case "getAllTables":
          return _tables.keySet();
        default:
          throw new UnsupportedOperationException(method.getName());
      }
    });
  }

  private static <T> T proxy(Class<T> type, InvocationHandler handler) {
    return type.cast(Proxy.newProxyInstance(type.getClassLoader(), new Class<?>[]{type}, handler));
  }
}
