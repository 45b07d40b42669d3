import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import org.elasticsearch.common.settings.Settings;
import org.elasticsearch.env.Environment;
import org.elasticsearch.index.mapper.MapperExtrasPlugin;
import org.elasticsearch.ingest.common.IngestCommonPlugin;
import org.elasticsearch.node.Node;
import org.elasticsearch.painless.PainlessPlugin;
import org.elasticsearch.plugins.Plugin;
import org.elasticsearch.script.mustache.MustachePlugin;
import org.elasticsearch.transport.Netty4Plugin;

/** Runs one Elasticsearch 7.10 node on a random loopback port. Its arguments are the home folder and settings, each
 * as name=value; it prints "READY host:port". */
public final class Elasticsearch7Node extends Node {
    private Elasticsearch7Node(Environment environment, List<Class<? extends Plugin>> plugins) {
        super(environment, plugins, false);
    }

    public static void main(String[] args) throws Exception {
        Path home = Path.of(args[0]);
        Settings.Builder builder = Settings.builder()
            .put("path.home", home.toString())
            .put("cluster.name", "products")
            .put("node.name", "node")
            .put("node.portsfile", true)
            .put("network.host", "127.0.0.1")
            .put("http.port", "0")
            .put("transport.port", "0")
            .put("discovery.type", "single-node")
            .put("cluster.routing.allocation.disk.threshold_enabled", false)
            .put("transport.type", "netty4")
            .put("http.type", "netty4");
        for (int i = 1; i < args.length; i++) {
            builder.put(args[i].substring(0, args[i].indexOf('=')), args[i].substring(args[i].indexOf('=') + 1));
        }
        Settings settings = builder.build();
        Environment environment = new Environment(settings, home.resolve("config"));
        new Elasticsearch7Node(environment, List.of(
            Netty4Plugin.class, PainlessPlugin.class, MustachePlugin.class, IngestCommonPlugin.class,
            MapperExtrasPlugin.class)).start();
        System.out.println("READY " + Files.readAllLines(home.resolve("logs/http.ports")).get(0));
        System.in.read(); // ends when the test process does
        Runtime.getRuntime().halt(0);
    }
}
