<?php
// PHP's own sessions in Isogrid, by php-memcached: `php -S HOST:PORT php_app.php`, SERVERS in the
// environment. A session is locked from its start to its end. LIST = 1 leaves it to php-memcached
// what to do when a server is dead, with session.use_strict_mode.

/** The first server that answers: each one serves every session. */
function one_of(string $servers): string
{
    foreach (explode(',', $servers) as $server) {
        $connection = @stream_socket_client("tcp://$server", timeout: 1);
        if ($connection) {
            fclose($connection);
            break;
        }
    }
    return $server;
}

$list = (bool) getenv('LIST');
foreach ([
    'session.save_handler' => 'memcached',
    'session.save_path' => $list ? getenv('SERVERS') : one_of(getenv('SERVERS')),
    'session.use_strict_mode' => (int) $list,
    'memcached.sess_persistent' => (int) $list,
    'memcached.sess_remove_failed_servers' => (int) $list,
    'memcached.sess_server_failure_limit' => (int) $list,
    'memcached.sess_connect_timeout' => 1000,
    'memcached.sess_lock_expire' => 30,
    'memcached.sess_lock_wait_min' => 20,
    'memcached.sess_lock_wait_max' => 50,
    'memcached.sess_lock_retries' => 200,
] as $key => $value) {
    ini_set($key, (string) $value);
}

/** Stays until the file that it makes is gone. */
function hold(?string $path): void
{
    if ($path) touch($path);
    while ($path && file_exists($path)) {
        usleep(10000);
        clearstatcache();
    }
}

function failed(string $why): void
{
    http_response_code(503);
    exit($why);
}

$what = parse_url($_SERVER['REQUEST_URI'], PHP_URL_PATH);
ob_start();
session_start() || failed('the session cannot be read');
hold($_GET['hold'] ?? null);
if ($what === '/login') {
    session_regenerate_id(true);
    $_SESSION['user'] = 'ann';
} elseif ($what === '/put') {
    $_SESSION[$_GET['name']] = 1;
} elseif ($what === '/count') {
    $_SESSION['n'] = ($_SESSION['n'] ?? 0) + 1;
} elseif ($what === '/logout') {
    $_SESSION = [];
    session_destroy() || failed('the session cannot be destroyed');
}
$kept = (object) $_SESSION;
// Without it a session that cannot be saved is answered as if it were.
if (session_status() === PHP_SESSION_ACTIVE && !session_write_close()) failed('not saved');
header('Content-Type: application/json');
echo json_encode($kept);
