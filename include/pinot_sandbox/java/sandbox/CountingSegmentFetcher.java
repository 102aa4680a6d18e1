package sandbox;

import java.io.File;
import java.net.URI;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;
import org.apache.pinot.common.utils.TarCompressionUtils;
import org.apache.pinot.common.utils.fetcher.PinotFSSegmentFetcher;

/**
 * Fetches segments as Pinot does, and counts what every server has fetched from the deep store.
 *
 * <p>Pinot has one fetcher for a scheme in a JVM. Who asked is read from the destination: a table data manager downloads to
 * {@code <server's data dir>/<table>/tmp/<some name>/<segment>.tar.compressed} (Pinot 1.5.1,
 * BaseTableDataManager.downloadSegmentFromDeepStore). Other destinations, such as the controller's, are not counted.
 */
public final class CountingSegmentFetcher extends PinotFSSegmentFetcher {
  /** Downloads of one segment by one server, and their bytes together. */
  public record Count(String server, String table, String segment, long count, long bytes) {
    private Count plus(Count other) {
      return new Count(server, table, segment, count + other.count, bytes + other.bytes);
    }
  }

  private static final Map<Path, String> SERVERS = new ConcurrentHashMap<>();
  private static final Map<List<String>, Count> COUNTS = new ConcurrentHashMap<>();

  static void register(Path dataDir, String server) {
    SERVERS.put(dataDir, server);
  }

  static List<Count> counts() {
    return new ArrayList<>(COUNTS.values());
  }

  static void reset() {
    COUNTS.clear();
  }

  @Override
  protected void fetchSegmentToLocalWithoutRetry(URI uri, File destination)
      throws Exception {
    super.fetchSegmentToLocalWithoutRetry(uri, destination);
    Path path = destination.toPath();
    SERVERS.forEach((dataDir, server) -> {
      if (path.startsWith(dataDir)) {
        String table = dataDir.relativize(path).getName(0).toString();
        String file = path.getFileName().toString();
        String segment = file.substring(0, file.lastIndexOf(TarCompressionUtils.TAR_COMPRESSED_FILE_EXTENSION));
        COUNTS.merge(List.of(server, table, segment), new Count(server, table, segment, 1, destination.length()),
            Count::plus);
      }
    });
  }
}
